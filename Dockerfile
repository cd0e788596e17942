# One image for every role: the command decides which. Without the embedded servers and the tools of development.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS packages
RUN python -m venv /venv
COPY requirements.lock .
RUN --mount=type=cache,target=/root/.cache/pip \
    /venv/bin/pip install --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock

FROM python:${PYTHON}-slim
# The user has no home; what looks for one finds the one folder that can be written.
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 HOME=/tmp
# A new volume takes its owner from the folder it is mounted over.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin mainstay \
 && install -d -o mainstay -g mainstay /var/lib/mainstay/files /var/lib/mainstay/flower /var/lib/mainstay/sandbox
COPY --from=packages /venv /venv
WORKDIR /app
COPY . .
# The file system is read-only when it runs: what is not compiled now is compiled at every start.
RUN python -m compileall -q .
USER 10001:10001
EXPOSE 8000
CMD ["gunicorn", "--config", "api/gunicorn.conf.py"]
