"""The engine answers from its inputs, and lets nothing out and nobody in even where the rules are not asked."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import tornado.test

from clients.locked_duckdb import Format, Input, Limits, Output, OutputFormat, Query, QueryRefused
from clients.locked_duckdb.engine import answer, opened
from clients.locked_duckdb.preview import CELL_LENGTH, MAX_COLUMNS, ROWS_BYTES

LIMITS = Limits(memory_bytes=256 * 1024**2, spill_bytes=256 * 1024**2, threads=2)
SECRET = "root:x:0:0:the content of a file that is nobody's input"

Ask = Callable[..., dict[str, Any]]


def query(scratch: Path, sql: str, inputs: tuple[Input, ...] = (), output: OutputFormat | None = None) -> Query:
    written = Output(str(scratch / f"result.{output}"), output, 2**30) if output else None
    return Query(sql, inputs, written, str(scratch), LIMITS)


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """The answer to `sql` over one input `t` with the given content."""

    def ask(
        sql: str, content: bytes | None = None, kind: Format = "csv", output: OutputFormat | None = None
    ) -> dict[str, Any]:
        source = tmp_path / "stored"
        source.write_bytes(content or b"")
        inputs = (Input("t", str(source), kind),) if content is not None else ()
        asked = query(tmp_path, sql, inputs, output)
        with opened(asked) as connection:
            return answer(connection, asked)

    return ask


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A locked engine with one input, to be asked past the rules."""
    (tmp_path / "stored").write_text("id,name\n1,Ada\n")
    with opened(query(tmp_path, "", (Input("people", str(tmp_path / "stored"), "csv"),))) as connection:
        yield connection


@pytest.fixture
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("elsewhere") / "secret.csv"
    path.write_text(f"{SECRET}\n")
    return path


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_blob('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM sniff_csv('{secret}')",
        "SELECT * FROM query('FROM read_text(''{secret}'')')",
        "SELECT * FROM read_csv('{stored}/../../{secret}')",
        "SELECT * FROM read_text(['{stored}', '{secret}'])",
        "SELECT getenv('HOME')",
        "SELECT * FROM duckdb_secrets()",
        "COPY (SELECT 1) TO '{folder}/written.csv'",
        "COPY people TO '{stored}'",
        "COPY people FROM '{secret}'",
        "ATTACH '{folder}/written.db'",
        "EXPORT DATABASE '{folder}/written'",
        "CREATE SECRET s (TYPE s3, KEY_ID 'x', SECRET 'y')",
        "INSTALL httpfs",
        "LOAD httpfs",
        "LOAD '{secret}'",
        "SET enable_external_access = true",
        "SET allowed_paths = ['{secret}']",
        "SET allowed_directories = ['/']",
        "SET temp_directory = '{folder}'",
        "SET memory_limit = '100GB'",
        "SET threads = 64",
        "SET log_query_path = '{folder}/written.log'",
        "SET lock_configuration = false",
        "RESET enable_external_access",
        "PRAGMA enable_profiling = 'json'; PRAGMA profile_output = '{folder}/written.json'",
        "SELECT * FROM read_parquet('http://127.0.0.1:9/x.parquet')",
        "SELECT * FROM sql_of_this_test",
    ],
)
def test_the_lock_alone_keeps_everything_else_out_of_reach(
    locked: duckdb.DuckDBPyConnection, secret: Path, tmp_path: Path, sql: str
) -> None:
    sql_of_this_test = {"id": [SECRET]}
    before = (tmp_path / "stored").read_bytes()
    with pytest.raises(duckdb.Error) as refused:
        locked.execute(sql.format(secret=secret, folder=secret.parent, stored=tmp_path / "stored")).fetchall()
    assert SECRET not in str(refused.value)
    assert list(secret.parent.iterdir()) == [secret]
    assert (tmp_path / "stored").read_bytes() == before
    assert locked.execute("SELECT name FROM people").fetchall() == [("Ada",)]
    assert sql_of_this_test


def test_an_answer_has_columns_rows_and_their_number(ask: Ask) -> None:
    found = ask(
        "SELECT region, sum(amount) AS total FROM t GROUP BY 1 ORDER BY 1", b"region,amount\neu,1\nus,2\neu,3\n"
    )
    assert found == {
        "columns": [{"name": "region", "type": "VARCHAR"}, {"name": "total", "type": "HUGEINT"}],
        "rows": [["eu", 4], ["us", 2]],
        "row_count": 2,
        "truncated": False,
    }


def test_only_the_first_rows_are_shown_but_all_are_counted(ask: Ask) -> None:
    found = ask("SELECT * FROM range(5_000) t(i) ORDER BY i DESC")
    assert [row[0] for row in found["rows"]] == list(range(4_999, 4_899, -1))
    assert found["row_count"] == 5_000
    assert found["truncated"]


def test_trailing_semicolons_and_comments_do_no_harm(ask: Ask) -> None:
    assert ask("SELECT 1 AS one; ; -- the end")["rows"] == [[1]]


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("NULL", None),
        ("true", True),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808::HUGEINT", "9223372036854775808"),
        ("170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727"),
        ("1.5::DOUBLE", 1.5),
        ("'nan'::DOUBLE", "NaN"),
        ("-('inf'::FLOAT)", "-Infinity"),
        ("1.10::DECIMAL(38, 2)", "1.10"),
        ("DATE '2024-02-29'", "2024-02-29"),
        ("DATE 'infinity'", "infinity"),
        ("TIMESTAMP '2024-01-02 03:04:05.6'", "2024-01-02T03:04:05.6"),
        ("TIMESTAMPTZ '2024-01-02 03:04:05+02'", "2024-01-02T01:04:05Z"),
        ("TIMESTAMP '0044-03-15 (BC) 00:00:00'", "0044-03-15 (BC) 00:00:00"),
        ("TIME '03:04:05'", "03:04:05"),
        ("INTERVAL '1 month 2 days'", "1 month 2 days"),
        ("'\\xFF\\x00'::BLOB", "/wA="),
        ("chr(0) || 'a'", "\ufffda"),
        ("'é'", "é"),
        ("'x'::ENUM ('x', 'y')", "x"),
        ("[1, NULL]", [1, None]),
        ("['nan'::DOUBLE]", ["NaN"]),
        ("{'a': [1.5], 'b': chr(0)}", {"a": [1.5], "b": "\ufffd"}),
        ("map {'k': 18446744073709551616::HUGEINT}", {"k": "18446744073709551616"}),
        ("[1, 2]::INT[2]", [1, 2]),
        ("'{\"a\": [true]}'::JSON", {"a": [True]}),
        ("uuid '30c11423-d216-4a28-8c9f-265255d19a49'", "30c11423-d216-4a28-8c9f-265255d19a49"),
    ],
)
def test_every_value_is_shown_as_json_that_postgres_keeps(ask: Ask, expression: str, shown: Any) -> None:
    found = ask(f"SELECT {expression} AS v")
    assert found["rows"] == [[shown]]
    assert "\\u0000" not in json.dumps(found, allow_nan=False)


def test_long_text_is_cut_and_the_answer_says_so(ask: Ask) -> None:
    found = ask("SELECT repeat('é', 1_000_000) AS v, [repeat('x', 1_000_000)] AS l")
    assert [len(value) for value in found["rows"][0]] == [CELL_LENGTH, CELL_LENGTH]
    assert found["truncated"]


def test_rows_are_shown_while_they_fit(ask: Ask) -> None:
    found = ask("SELECT repeat('x', 9_000) FROM range(100)")
    assert len(json.dumps(found["rows"])) <= ROWS_BYTES + 1_000
    assert 20 < len(found["rows"]) < 100
    assert found["truncated"]


def test_a_result_with_too_many_columns_is_refused(ask: Ask) -> None:
    with pytest.raises(QueryRefused) as refused:
        ask("SELECT " + ", ".join(f"{number} AS c{number}" for number in range(MAX_COLUMNS + 1)))
    assert refused.value.code == "result_too_wide"


@pytest.mark.parametrize(
    ("content", "kind", "rows"),
    [
        (b'\xef\xbb\xbfid,name\r\n1,"a\r\nb"\r\n2,"say ""hi"""\r\n', "csv", [[1, "a\r\nb"], [2, 'say "hi"']]),
        (b"id;name\n1;a,b\n", "csv", [[1, "a,b"]]),
        (b"id\tname\n1\ta\n", "csv", [[1, "a"]]),
        (b"id|name\n1|a\n", "csv", [[1, "a"]]),
        (b"id,name\n", "csv", []),
        (b'{"id": 1, "name": "a"}\n{"id": 2}\n', "json", [[1, "a"], [2, None]]),
        (b'[{"id": 1, "name": {"first": "a"}}]', "json", [[1, {"first": "a"}]]),
    ],
    ids=["BOM, CRLF, quotes", "semicolon", "tab", "bar", "header only", "JSON Lines", "JSON array"],
)
def test_files_are_read_as_people_have_them(ask: Ask, content: bytes, kind: Format, rows: list[Any]) -> None:
    assert ask("FROM t", content, kind)["rows"] == rows


def test_a_quoted_field_is_understood_however_late_it_comes(ask: Ask) -> None:
    plain = b"".join(b"%d,x\n" % number for number in range(30_000))
    found = ask("SELECT name FROM t WHERE id = 30_000", b"id,name\n" + plain + b'30000,"a, ""b"""\n')
    assert found["rows"] == [['a, "b"']]


def test_a_file_that_others_publish_is_read_too(ask: Ask) -> None:
    content = Path(tornado.test.__file__).with_name("csv_translations").joinpath("fr_FR.csv").read_bytes()
    assert [column["name"] for column in ask("FROM t", content)["columns"]] == ["school", "école"]


MANY = b"id,name\n" + b"".join(b"%d,x\n" % number for number in range(30_000))


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (MANY + b"1,2,3\n", "csv", "t: line 30002: Expected Number of Columns: 2 Found: 3"),
        (MANY + b"abc,x\n", "csv", 't: line 30002: Error when converting column "id"'),
        (MANY + b"1,caf\xe9\n", "csv", "t: line 30002: Invalid unicode"),
        (b"id,name\n1," + b"x" * 3_000_000 + b"\n", "csv", "Maximum line size"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "csv", "t: "),
        (b'{"a": 1}\nfoo\n', "json", "t: near line"),
        (b"PAR1" + bytes(100), "parquet", "t: "),
        (b"not a Parquet file", "parquet", "t: "),
        (b"", "parquet", "t: "),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_told_with_its_line_and_no_path(
    ask: Ask, tmp_path: Path, content: bytes, kind: Format, message: str
) -> None:
    with pytest.raises(QueryRefused) as refused:
        ask("SELECT count(id), count(name) FROM t" if kind == "csv" else "FROM t", content, kind)
    assert refused.value.code == "file_unreadable"
    assert message in refused.value.message
    assert str(tmp_path) not in refused.value.message
    assert "_mode" not in refused.value.message


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT nme FROM t", "sql_invalid"),
        ("SELECT no_such_function(1)", "sql_invalid"),
        ("SELECT id FROM t GROUP BY name", "sql_invalid"),
        ("SELECT 'a'::INT", "sql_failed"),
        ("SELECT upper(name)::INT FROM t", "sql_failed"),
        ("SELECT name::INT FROM t", "file_unreadable"),
        ("SELECT 9223372036854775807 + id FROM t", "sql_failed"),
        ("SELECT error('stop')", "sql_failed"),
        ("SELECT list(i) FROM range(1_000_000_000) r(i)", "out_of_memory"),
        ("SELECT getenv('HOME')", "sql_forbidden"),
    ],
)
def test_a_query_that_cannot_be_answered_says_why_and_shows_no_path(
    ask: Ask, tmp_path: Path, sql: str, code: str
) -> None:
    with pytest.raises(QueryRefused) as refused:
        ask(sql, b"id,name\n1,Ada\n")
    assert refused.value.code == code, refused.value.message
    assert str(tmp_path) not in refused.value.message
    assert "the result" not in refused.value.message


def test_a_query_that_spills_beyond_its_quota_is_stopped(tmp_path: Path) -> None:
    asked = Query(
        "SELECT i, hash(i) AS h FROM range(30_000_000) t(i) ORDER BY h", (), None, str(tmp_path),
        Limits(memory_bytes=128 * 1024**2, spill_bytes=16 * 1024**2, threads=2),
    )  # fmt: skip
    with opened(asked) as connection, pytest.raises(QueryRefused, match="spill") as refused:
        answer(connection, asked)
    assert refused.value.code == "out_of_memory"


@pytest.mark.parametrize("output", ["csv", "jsonl", "parquet"])
def test_an_output_holds_all_rows_in_order(ask: Ask, tmp_path: Path, output: OutputFormat) -> None:
    found = ask("SELECT i AS id, 'say \"hi\"' AS name FROM range(500) t(i) ORDER BY i DESC", output=output)
    assert found["row_count"] == 500
    again: Format = "json" if output == "jsonl" else output
    source = Input("t", str(tmp_path / f"result.{output}"), again)
    asked = query(tmp_path, "FROM t", (source,))
    with opened(asked) as connection:
        assert answer(connection, asked) == found
