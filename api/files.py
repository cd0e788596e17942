"""Files: streamed in and out, never held in memory; a file exists only once all its bytes do."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import structlog
from flask import Response, request, send_file
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import delete, select
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from api.edge.auth import caller, requires
from api.edge.body import stand_in
from api.edge.errors import Problem
from api.edge.idempotency import first_answer, remember
from api.openapi import BODY, responses
from api.page_query import Limit
from api.upload import arriving
from clients.objects import ObjectMissing, ObjectTooLarge, StoreUnavailable, object_store
from models import File
from models.base import new_id
from models.session import transaction
from settings import get_settings
from workers.files import QuotaExceeded, add, room, unless_recorded

blueprint = APIBlueprint("files", __name__)
log = structlog.get_logger()

_BINARY = {"type": "string", "format": "binary"}
_UPLOAD = {
    "description": "The file's bytes, or one part with them.",
    "required": True,
    "content": {
        "application/octet-stream": {"schema": _BINARY},
        "multipart/form-data": {"schema": {"type": "object", "properties": {"file": _BINARY}, "required": ["file"]}},
    },
}
_ONE_RANGE = re.compile(r"bytes=(\d+-\d*|-\d+)")
_CONTENT = {"description": "The bytes.", "content": {"*/*": {"schema": _BINARY}}}


class UploadQuery(BaseModel):
    """How the file is to be called."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(
        default=None, description="No path, at most 255 bytes. May be left out where a multipart body says it."
    )


class FileListQuery(BaseModel):
    """Which page of the files."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(default=None, max_length=200, description="The `next_cursor` of the page before.")
    limit: Limit = 50


class FilePath(BaseModel):
    """Which file."""

    file_id: UUID


class FileResource(BaseModel):
    """A stored file."""

    id: UUID
    name: str
    content_type: str
    bytes: int
    sha256: str
    job_id: UUID | None = Field(description="The job that made it; null for an upload.")
    created_at: datetime


class FilePage(BaseModel):
    """Files, the newest first."""

    items: list[FileResource]
    next_cursor: Annotated[str | None, Field(description="Pass it as `cursor` for the next page.")]


@blueprint.post(
    "/v1/files",
    operation_id="uploadFile",
    responses=responses({201: FileResource}, 409, *BODY),
    openapi_extensions={"requestBody": _UPLOAD},
)
@requires("files:write")
def upload(query: UploadQuery) -> Response | tuple[dict[str, Any], int, dict[str, str]]:
    """Upload a file.

    Send its bytes as the body, or as the one part of a multipart body. No length need be announced. With an
    `Idempotency-Key`, the same name, type and bytes count as the same request.
    """
    app_id, key = caller().app_id, new_id()
    with transaction() as session:
        left = max(room(session, app_id), 0)
    limit = min(get_settings().file_max_bytes, left)
    arrived = arriving(query.name, limit)
    try:
        stored = object_store().put(key, arrived.chunks, limit)
    except ObjectTooLarge:
        raise _too_large(left) from None
    except StoreUnavailable as error:
        raise _unavailable(error) from None
    except Problem as problem:
        raise _too_large(left) if problem.code == "too_large" else problem from None
    file = File(
        id=key, app_id=app_id, name=arrived.name, content_type=arrived.content_type, **stored._asdict(), job_id=None
    )
    stand_in(f"{file.name}\n{file.content_type}\n{file.sha256}".encode())
    with unless_recorded(key):
        replay, body = _record(file)
    if replay is not None:
        object_store().delete(key)
        return replay
    return body, 201, {"Location": _address(key)}


def _record(file: File) -> tuple[Response | None, dict[str, Any]]:
    with transaction() as session:
        replay = first_answer(session)
        if replay is not None:
            return replay, {}
        try:
            add(session, file)
        except QuotaExceeded:
            raise _too_large(0) from None
        body = _rendered(file)
        remember(session, 201, _address(file.id), body)
        return None, body


@blueprint.get("/v1/files", operation_id="listFiles", responses=responses({200: FilePage}))
@requires("files:read")
def list_files(query: FileListQuery) -> dict[str, Any]:
    """List the app's files, the newest first."""
    page = select(File).where(File.app_id == caller().app_id).order_by(File.id.desc()).limit(query.limit + 1)
    if query.cursor is not None:
        page = page.where(File.id < _opened(query.cursor))
    with transaction() as session:
        files = session.scalars(page).all()
    shown = files[: query.limit]
    more = urlsafe_b64encode(shown[-1].id.bytes).decode().rstrip("=") if len(files) > query.limit else None
    return {"items": [_rendered(file) for file in shown], "next_cursor": more}


@blueprint.get("/v1/files/<file_id>", operation_id="getFile", responses=responses({200: FileResource}, 404))
@requires("files:read")
def show(path: FilePath) -> dict[str, Any]:
    """Show a file."""
    return _rendered(_existing(path.file_id))


@blueprint.get(
    "/v1/files/<file_id>/content",
    operation_id="downloadFile",
    responses=responses({200: _CONTENT, 206: _CONTENT, 304: None}, 404, 412, 416),
)
@requires("files:read")
def content(path: FilePath) -> Response:
    """Download a file.

    The entity tag is the SHA-256 of the bytes. One range may be asked for; of several, the whole file is the answer.
    """
    file = _existing(path.file_id)
    try:
        source = object_store().path(file.id)
    except ObjectMissing:
        raise _not_found() from None
    except StoreUnavailable as error:
        raise _unavailable(error) from None
    if not _ONE_RANGE.fullmatch(request.headers.get("Range", "")):
        request.environ.pop("HTTP_RANGE", None)
    try:
        response = send_file(
            source.absolute(), mimetype=file.content_type, as_attachment=True, download_name=file.name,
            conditional=True, etag=file.sha256, last_modified=file.created_at,
        )  # fmt: skip
    except RequestedRangeNotSatisfiable:
        raise Problem(
            416, "range_not_satisfiable", f"the file has {file.bytes:,} bytes; the range lies outside of it",
            headers={"Content-Range": f"bytes */{file.bytes}"},
        ) from None  # fmt: skip
    response.headers["Cache-Control"] = "private, no-cache"
    # Should a browser be made to show it in spite of the disposition, it is no page of ours.
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


@blueprint.delete("/v1/files/<file_id>", operation_id="deleteFile", responses=responses({204: None}, 404))
@requires("files:write")
def remove(path: FilePath) -> Response:
    """Delete a file. Downloads under way go on; jobs that still need it fail."""
    with transaction() as session:
        gone = session.scalar(
            delete(File).where(File.id == path.file_id, File.app_id == caller().app_id).returning(File.id)
        )
    if gone is None:
        raise _not_found()
    object_store().delete(gone)
    return Response(status=204)


def _existing(file_id: UUID) -> File:
    with transaction() as session:
        file = session.scalar(select(File).where(File.id == file_id, File.app_id == caller().app_id))
    if file is None:
        raise _not_found()
    return file


def _rendered(file: File) -> dict[str, Any]:
    return {name: getattr(file, name) for name in FileResource.model_fields}


def _address(file_id: UUID) -> str:
    return f"/v1/files/{file_id}"


def _opened(cursor: str) -> UUID:
    try:
        return UUID(bytes=urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
    except ValueError:
        raise Problem(400, "invalid_cursor", "this cursor was not made for this list; begin without one") from None


def _too_large(left: int) -> Problem:
    largest = get_settings().file_max_bytes
    if left < largest:
        detail = "the app's files would take more room than it has; delete some"
        return Problem(413, "file_quota_exceeded", detail, headers={"Connection": "close"})
    detail = f"a file may have at most {largest:,} bytes"
    return Problem(413, "too_large", detail, headers={"Connection": "close"})


def _unavailable(error: StoreUnavailable) -> Problem:
    log.error("files_unavailable", cause=str(error))
    detail = "the disk of the files is full, or cannot be reached; try again later"
    return Problem(503, "files_unavailable", detail, headers={"Retry-After": "10", "Connection": "close"})


def _not_found() -> Problem:
    return Problem(404, "file_not_found", "there is no such file")
