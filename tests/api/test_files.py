"""Files go in and out byte for byte, and one that did not wholly arrive never existed."""

import io
import resource
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from clients.objects import object_store
from models import File
from models.session import transaction
from settings import get_settings
from tests.api.callers import caller
from workers import keys

BYTES = bytes(range(256)) * 40


def upload(client: FlaskClient, content: bytes = BYTES, name: str = "numbers.csv", **options: Any) -> Any:
    return client.post("/v1/files", query_string={"name": name}, data=content, **options)


def uploaded(client: FlaskClient, content: bytes = BYTES, **options: Any) -> str:
    answer = upload(client, content, **options)
    assert answer.status_code == 201, answer.json
    return str(answer.json["id"])


def download(client: FlaskClient, file_id: str, **headers: str) -> Any:
    # Buffered, as the file would stay open until the answer is collected.
    return client.get(f"/v1/files/{file_id}/content", headers=headers, buffered=True)


def rows() -> int:
    with transaction() as session:
        return int(session.scalar(select(func.count()).select_from(File)) or 0)


def objects() -> list[Path]:
    return [path for path in get_settings().files_dir.rglob("*") if path.is_file()]


@pytest.fixture(autouse=True)
def _empty_store(client: FlaskClient) -> None:
    for path in objects():
        path.unlink()


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def limit(**values: int) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"MAINSTAY_{name.upper()}", str(value))
        get_settings.cache_clear()

    yield limit
    monkeypatch.undo()
    get_settings.cache_clear()


@pytest.fixture
def stranger(client: FlaskClient) -> FlaskClient:
    """A client of another app."""
    return caller(client, "mallory", *keys.APP_SCOPES)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process can grow beyond 1,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_upload_that_finds_the_disk_full_is_refused_and_leaves_nothing(client: FlaskClient, full_disk: None) -> None:
    answer = upload(client)
    assert (answer.status_code, answer.json["code"]) == (503, "files_unavailable")
    assert answer.headers["Retry-After"] == "10"
    assert (rows(), objects()) == (0, [])


def test_a_file_whose_disk_is_gone_is_not_said_not_to_exist(client: FlaskClient) -> None:
    file_id = uploaded(client)
    there, away = get_settings().files_dir / "objects", get_settings().files_dir / "away"
    there.rename(away)
    answer = download(client, file_id)
    assert (answer.status_code, answer.json["code"]) == (503, "files_unavailable")
    away.rename(there)
    assert download(client, file_id).data == BYTES


def test_an_upload_answers_with_what_arrived(client: FlaskClient) -> None:
    answer = upload(client, content_type="text/csv; charset=utf-8")
    assert answer.status_code == 201
    shown = answer.json
    assert answer.headers["Location"] == f"/v1/files/{shown['id']}"
    assert shown["name"] == "numbers.csv"
    assert shown["content_type"] == "text/csv"
    assert (shown["bytes"], shown["sha256"]) == (len(BYTES), sha256(BYTES).hexdigest())
    assert shown["created_at"].endswith("Z")
    assert client.get(answer.headers["Location"]).json == shown


def test_a_file_comes_back_byte_for_byte_and_is_never_shown_as_a_page(client: FlaskClient) -> None:
    answer = download(client, uploaded(client, content_type="text/html"))
    assert answer.data == BYTES
    assert answer.headers["Content-Disposition"] == "attachment; filename=numbers.csv"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["ETag"] == f'"{sha256(BYTES).hexdigest()}"'


def test_a_file_may_be_empty(client: FlaskClient) -> None:
    file_id = uploaded(client, b"")
    assert client.get(f"/v1/files/{file_id}").json["bytes"] == 0
    assert download(client, file_id).data == b""


def test_a_length_need_not_be_announced(client: FlaskClient) -> None:
    answer = client.post(
        "/v1/files?name=a", input_stream=io.BytesIO(BYTES), environ_overrides={"wsgi.input_terminated": True}
    )
    assert answer.status_code == 201
    assert answer.json["bytes"] == len(BYTES)


@pytest.mark.parametrize(
    ("sent", "name", "kept"),
    [
        ("text/csv", "a", "text/csv"),
        ("Application/X-NDJSON", "a", "application/x-ndjson"),
        ("application/x-www-form-urlencoded", "a.csv", "text/csv"),
        (None, "a.json", "application/json"),
        (None, "a", "application/octet-stream"),
        ("text/<script>", "a", "application/octet-stream"),
    ],
)
def test_the_content_type_is_what_was_said_or_what_the_name_says(
    client: FlaskClient, sent: str | None, name: str, kept: str
) -> None:
    assert upload(client, name=name, content_type=sent).json["content_type"] == kept


@pytest.mark.parametrize("name", ["naïve café.csv", "数据.csv", 'say "hi".csv', "semi;colon.csv"])
def test_names_with_other_than_plain_letters_survive_the_download(client: FlaskClient, name: str) -> None:
    file_id = uploaded(client, name=name)
    assert client.get(f"/v1/files/{file_id}").json["name"] == name
    disposition = download(client, file_id).headers["Content-Disposition"]
    assert disposition.startswith("attachment; filename")
    assert disposition.isascii()


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", "a\nb", "a\x1bb", "a\u202egpj.exe", "x" * 256, "é" * 128],
)
def test_a_name_that_is_a_path_or_not_visible_is_refused(client: FlaskClient, name: str) -> None:
    answer = upload(client, name=name)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["pointer"] == "/name"
    assert rows() == 0
    assert objects() == []


def test_a_raw_upload_without_a_name_is_refused(client: FlaskClient) -> None:
    assert client.post("/v1/files", data=BYTES).status_code == 422


def test_a_multipart_part_is_kept_under_its_own_name_and_type(client: FlaskClient) -> None:
    answer = client.post("/v1/files", data={"file": (io.BytesIO(BYTES), "part.tsv", "text/tab-separated-values")})
    assert answer.status_code == 201
    assert answer.json["name"] == "part.tsv"
    assert answer.json["content_type"] == "text/tab-separated-values"
    assert answer.json["sha256"] == sha256(BYTES).hexdigest()


def test_the_query_names_a_multipart_file_before_the_part_does(client: FlaskClient) -> None:
    answer = client.post("/v1/files?name=mine.csv", data={"file": (io.BytesIO(BYTES), "part.tsv")})
    assert answer.json["name"] == "mine.csv"


def multipart(*parts: bytes, end: bytes = b"--edge--\r\n") -> dict[str, Any]:
    body = b"".join(b"--edge\r\n" + part + b"\r\n" for part in parts) + end
    return {"data": body, "content_type": "multipart/form-data; boundary=edge"}


FILE = b'Content-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n1,2'
FIELD = b'Content-Disposition: form-data; name="note"\r\n\r\nhello'


@pytest.mark.parametrize(
    "broken",
    [
        multipart(FILE, FILE),
        multipart(FILE, FIELD),
        multipart(FIELD),
        multipart(),
        multipart(FILE, end=b""),
        multipart(b"No-Disposition: at all\r\n\r\n1,2"),
        multipart(b"X: " + b"x" * 2_000_000),
        {"data": b"--edge--", "content_type": "multipart/form-data"},
        {"data": b"no parts at all", "content_type": "multipart/form-data; boundary=edge"},
    ],
    ids=["two files", "a field after", "a field", "nothing", "no end", "no disposition", "header", "boundary", "parts"],
)
def test_a_multipart_body_that_is_not_one_whole_file_is_refused_and_nothing_kept(
    client: FlaskClient, broken: dict[str, Any]
) -> None:
    answer = client.post("/v1/files?name=a.csv", **broken)
    assert answer.status_code == 400, answer.json
    assert answer.json["code"] == "malformed_multipart"
    assert rows() == 0
    assert objects() == []


def test_a_multipart_file_that_holds_line_breaks_and_half_boundaries_is_kept_whole(client: FlaskClient) -> None:
    content = b"\r\n--edg\r\n--edgy\n" * 20_000 + b"\r\n"
    head = b'Content-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    answer = client.post("/v1/files", **multipart(head + content.replace(b"--edgy", b"--rough")))
    assert answer.json["sha256"] == sha256(content.replace(b"--edgy", b"--rough")).hexdigest()


def test_an_encoded_body_is_refused(client: FlaskClient) -> None:
    assert upload(client, headers={"Content-Encoding": "gzip"}).status_code == 415


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_beyond_the_limit_is_refused_and_leaves_nothing(
    client: FlaskClient, limited: Callable[..., None], announced: bool
) -> None:
    limited(file_max_bytes=1000)
    uploaded(client, b"x" * 1000)
    if announced:
        answer = upload(client, b"x" * 1001)
    else:
        answer = client.post(
            "/v1/files?name=a", input_stream=io.BytesIO(b"x" * 1001), environ_overrides={"wsgi.input_terminated": True}
        )
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")
    assert rows() == 1
    assert len(objects()) == 1


def test_a_multipart_file_beyond_the_limit_is_refused(client: FlaskClient, limited: Callable[..., None]) -> None:
    limited(file_max_bytes=1000)
    answer = client.post("/v1/files", data={"file": (io.BytesIO(b"x" * 1001), "a.csv")})
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")
    assert objects() == []


def test_an_apps_files_share_its_quota_and_a_deleted_one_gives_its_room_back(
    client: FlaskClient, limited: Callable[..., None]
) -> None:
    limited(app_quota_bytes=1500)
    first = uploaded(client, b"x" * 1000)
    refused = upload(client, b"x" * 501)
    assert (refused.status_code, refused.json["code"]) == (413, "file_quota_exceeded")
    client.delete(f"/v1/files/{first}")
    uploaded(client, b"x" * 1500)
    assert len(objects()) == 1


def test_a_caller_that_hangs_up_leaves_neither_row_nor_bytes(client: FlaskClient) -> None:
    answer = client.post(
        "/v1/files?name=a",
        environ_overrides={"CONTENT_LENGTH": "8", "wsgi.input": io.BytesIO(b"half"), "wsgi.input_terminated": True},
    )
    assert (answer.status_code, answer.json["code"]) == (400, "incomplete_body")
    assert rows() == 0
    assert objects() == []


def test_an_upload_holds_no_more_than_a_few_pieces_in_memory(client: FlaskClient) -> None:
    size = 64 * 1024 * 1024

    class Endless(io.RawIOBase):
        """A body that is longer than what may be held, and says how it is read."""

        left = size
        largest = 0

        def readinto(self, buffer: Any) -> int:
            self.largest = max(self.largest, len(buffer))
            given = min(len(buffer), self.left)
            self.left -= given
            return given

    body = Endless()
    answer = client.post("/v1/files?name=a", environ_overrides={"wsgi.input": body, "wsgi.input_terminated": True})
    assert answer.json["bytes"] == size
    assert body.largest <= 1024 * 1024


def test_a_row_that_cannot_be_written_takes_its_bytes_along(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = UUID(uploaded(client, b"first"))
    monkeypatch.setattr("api.files.new_id", lambda: taken)
    assert upload(client, b"second").status_code == 500
    assert rows() == 1


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=100-199", 100, 200), ("bytes=10000-", 10000, None), ("bytes=-5", -5, None)],
)
def test_one_range_is_answered_with_that_part(client: FlaskClient, asked: str, start: int, end: int | None) -> None:
    answer = download(client, uploaded(client), Range=asked)
    assert answer.status_code == 206
    assert answer.data == BYTES[start:end]
    assert answer.headers["Content-Range"].endswith(f"/{len(BYTES)}")


def test_a_range_outside_of_the_file_is_refused_with_its_length(client: FlaskClient) -> None:
    answer = download(client, uploaded(client), Range="bytes=20000-")
    assert (answer.status_code, answer.json["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(BYTES)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "lines=1-2", "bytes=b-a"])
def test_a_range_that_is_not_one_range_of_bytes_gets_the_whole_file(client: FlaskClient, asked: str) -> None:
    answer = download(client, uploaded(client), Range=asked)
    assert (answer.status_code, answer.data) == (200, BYTES)


def test_a_range_of_another_version_gets_the_whole_file(client: FlaskClient) -> None:
    headers = {"Range": "bytes=0-1", "If-Range": '"another"'}
    assert download(client, uploaded(client), **headers).data == BYTES


def test_who_has_the_file_already_is_told_so(client: FlaskClient) -> None:
    file_id = uploaded(client)
    answer = download(client, file_id, **{"If-None-Match": download(client, file_id).headers["ETag"]})
    assert (answer.status_code, answer.data) == (304, b"")


def test_a_deleted_file_is_gone_with_its_bytes(client: FlaskClient) -> None:
    file_id = uploaded(client)
    assert client.delete(f"/v1/files/{file_id}").status_code == 204
    for answer in (client.get(f"/v1/files/{file_id}"), client.delete(f"/v1/files/{file_id}")):
        assert (answer.status_code, answer.json["code"]) == (404, "file_not_found")
    assert objects() == []


def test_a_file_whose_bytes_are_lost_is_not_found(client: FlaskClient) -> None:
    file_id = uploaded(client)
    object_store().delete(UUID(file_id))
    assert download(client, file_id).status_code == 404


def test_another_apps_files_do_not_exist(client: FlaskClient, stranger: FlaskClient) -> None:
    file_id = uploaded(client)
    for address in (f"/v1/files/{file_id}", f"/v1/files/{file_id}/content"):
        assert stranger.get(address).status_code == 404
    assert stranger.delete(f"/v1/files/{file_id}").status_code == 404
    assert stranger.get("/v1/files").json == {"items": [], "next_cursor": None}
    assert download(client, file_id).data == BYTES


@pytest.mark.parametrize("file_id", ["1", "../../etc/passwd", "018f0000-0000-7000-8000-000000000000"])
def test_an_unknown_id_is_not_found(client: FlaskClient, file_id: str) -> None:
    assert client.get(f"/v1/files/{file_id}").status_code == 404


def test_pages_hold_every_file_once_the_newest_first(client: FlaskClient) -> None:
    ids = [uploaded(client, str(number).encode()) for number in range(5)]

    def pages() -> Iterator[list[str]]:
        cursor = None
        while True:
            page = client.get("/v1/files", query_string={"limit": 2} | ({"cursor": cursor} if cursor else {})).json
            yield [item["id"] for item in page["items"]]
            if (cursor := page["next_cursor"]) is None:
                return

    assert list(pages()) == [ids[:2:-1], ids[2:0:-1], ids[:1]]


@pytest.mark.parametrize("cursor", ["x", "é", "AAAA", "!" * 22])
def test_a_cursor_that_we_did_not_make_is_refused(client: FlaskClient, cursor: str) -> None:
    answer = client.get("/v1/files", query_string={"cursor": cursor})
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_cursor")


def test_a_repeated_upload_gets_the_first_answer_and_takes_no_room(client: FlaskClient) -> None:
    first, again = (upload(client, headers={"Idempotency-Key": "k1"}) for _ in range(2))
    assert again.status_code == 201
    assert again.json == first.json
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert rows() == 1
    assert len(objects()) == 1


@pytest.mark.parametrize("change", [{"content": b"other"}, {"name": "other.csv"}, {"content_type": "text/plain"}])
def test_a_key_that_comes_with_another_file_is_refused_and_nothing_kept(
    client: FlaskClient, change: dict[str, Any]
) -> None:
    upload(client, content_type="text/csv", headers={"Idempotency-Key": "k1"})
    answer = upload(client, **({"content_type": "text/csv"} | change), headers={"Idempotency-Key": "k1"})
    assert (answer.status_code, answer.json["code"]) == (422, "idempotency_key_reused")
    assert rows() == 1
    assert len(objects()) == 1
