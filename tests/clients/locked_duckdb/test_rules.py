"""A query is one SELECT over its inputs; everything else is refused before it runs."""

import json

import duckdb
import pytest

from clients.locked_duckdb import QueryRefused
from clients.locked_duckdb.rules import check


def judge(sql: str) -> None:
    (tree,) = duckdb.connect().execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    check(json.loads(tree), ["sales", "people"])


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "select * from SALES;",
        "FROM sales",
        "TABLE sales -- all of it",
        "VALUES (1), (2)",
        "SELECT 'COPY sales TO ''x''; DROP TABLE sales' AS harmless",
        "SELECT region, sum(amount) FROM sales GROUP BY ALL ORDER BY 2 DESC LIMIT 3",
        "SELECT * FROM sales s JOIN people p USING (id) WHERE EXISTS (SELECT 1 FROM people WHERE id = s.id)",
        "WITH big AS (SELECT * FROM sales WHERE amount > 5) SELECT count(*) FROM big, BIG b",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT * FROM n",
        "WITH a AS MATERIALIZED (WITH b AS (FROM sales) FROM b) FROM a",
        "SELECT * FROM sales UNION ALL BY NAME SELECT * FROM people EXCEPT SELECT * FROM people",
        "SELECT *, row_number() OVER (PARTITION BY region ORDER BY amount) AS n FROM sales QUALIFY n = 1",
        "SELECT region, sum(amount) FILTER (amount > 1) FROM sales GROUP BY GROUPING SETS ((region), ())",
        "SELECT list_transform([1, 2], lambda x: x + 1), [x * 2 for x in [1, 2]], {'a': 1}.a",
        "SELECT * FROM range(3) t(i), LATERAL (SELECT i + 1)",
        "SELECT unnest([1, 2]) AS n, * FROM generate_series(1, 2)",
        "SELECT * FROM sales ASOF JOIN people ON sales.id >= people.id",
        "SELECT * FROM sales POSITIONAL JOIN people",
        "SELECT * FROM (PIVOT sales ON region IN ('eu', 'us') USING sum(amount))",
        "SELECT * FROM (UNPIVOT sales ON amount INTO NAME n VALUE v)",
        "SELECT COLUMNS('a.*'), * EXCLUDE (id) REPLACE (amount * 2 AS amount) FROM sales",
        "SELECT (SELECT max(amount) FROM sales), CASE WHEN true THEN 1 END, CAST('1' AS INT), DATE '2024-01-01'",
        "SELECT * FROM sales USING SAMPLE 10%",
        "SELECT pg_typeof(1), now(), random()",
        "SELECT * FROM json_each('{\"a\": 1}')",
        "SELECT amount FROM sales WHERE region = ANY (SELECT 'eu') AND amount BETWEEN 1 AND 2",
    ],
)
def test_a_select_over_the_inputs_is_allowed(sql: str) -> None:
    judge(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE sales",
        "INSERT INTO sales VALUES (1)",
        "UPDATE sales SET id = 1",
        "DELETE FROM sales",
        "CREATE TABLE t AS SELECT 1",
        "CREATE MACRO m(x) AS x",
        "CREATE SECRET s (TYPE s3)",
        "DROP VIEW sales",
        "ALTER TABLE sales RENAME TO t",
        "WITH x AS (INSERT INTO sales VALUES (1) RETURNING *) SELECT * FROM x",
        "WITH x AS (DELETE FROM sales RETURNING *) SELECT * FROM x",
        "SELECT * FROM (WITH x AS (UPDATE sales SET id = 1 RETURNING *) SELECT * FROM x)",
        "COPY sales TO '/tmp/x.csv'",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "COPY sales FROM '/etc/passwd'",
        "EXPORT DATABASE '/tmp/x'",
        "IMPORT DATABASE '/tmp/x'",
        "ATTACH '/tmp/x.db'",
        "DETACH memory",
        "USE memory",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA version",
        "PRAGMA database_list",
        "SET threads = 100",
        "SET VARIABLE x = 1",
        "RESET threads",
        "CALL pragma_version()",
        "CHECKPOINT",
        "VACUUM",
        "BEGIN",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "DESCRIBE sales",
        "SUMMARIZE sales",
        "SHOW TABLES",
        "SHOW ALL TABLES",
        "SELECT * FROM (DESCRIBE sales)",
        "PIVOT sales ON region USING sum(amount)",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM READ_CSV_AUTO('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM read_json('/etc/passwd')",
        "SELECT * FROM read_parquet('http://127.0.0.1/x')",
        "SELECT * FROM read_duckdb('/tmp/x.db')",
        "SELECT * FROM system.main.read_csv('/etc/passwd')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM parquet_metadata('/etc/passwd')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT (SELECT count(*) FROM glob('/etc/*'))",
        "SELECT * FROM sales WHERE id IN (SELECT size FROM read_text('/etc/passwd'))",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM query_table('sales')",
        "SELECT * FROM json_execute_serialized_sql('{}')",
        "SELECT json_serialize_plan('SELECT * FROM sales')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM which_secret('s3://x', 's3')",
        "SELECT * FROM duckdb_views()",
        "SELECT * FROM duckdb_views",
        "SELECT * FROM pg_settings",
        "SELECT * FROM pg_catalog.pg_settings",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM sqlite_master",
        "SELECT * FROM main.sales",
        "SELECT * FROM memory.main.sales",
        "WITH duckdb_views AS (SELECT 1) SELECT * FROM duckdb_views",
        "SELECT * FROM (WITH Pg_Views AS (SELECT 1) FROM Pg_Views), pg_views",
        "SELECT current_setting('temp_directory')",
        "SELECT system.main.current_setting('temp_directory')",
        "SELECT 'temp_directory'.current_setting()",
        "SELECT getenv('HOME')",
        "SELECT GetEnv('HOME')",
        "SELECT getvariable('x')",
        "SELECT list_transform(['HOME'], lambda x: getenv(x))",
        "SELECT write_log('x')",
        "SELECT sleep_ms(100000)",
        "SELECT pg_sleep(100)",
        "SELECT pg_get_viewdef(1)",
        "SELECT 1 ORDER BY current_setting('threads')",
        "SELECT sum(1) OVER (ORDER BY getenv('HOME'))",
        "SELECT 1 LIMIT (SELECT length(getenv('HOME')))",
    ],
)
def test_whatever_is_no_select_over_the_inputs_is_forbidden(sql: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        judge(sql)
    assert refused.value.code == "sql_forbidden", refused.value.message


@pytest.mark.parametrize(
    "sql",
    [
        "",
        ";",
        "-- nothing",
        "SELEC 1",
        "SELECT * FROM sales WHERE",
        "SELECT * FROM sails",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM 'https://example.com/x.parquet'",
        "SELECT ?",
        "SELECT $name",
        "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
        "SELECT 1" + " + 1" * 5_000,
    ],
)
def test_what_cannot_be_understood_is_invalid(sql: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        judge(sql)
    assert refused.value.code == "sql_invalid", refused.value.message


def test_a_syntax_error_says_where() -> None:
    with pytest.raises(QueryRefused, match=r'near "WHERE" \(at character 21\)'):
        judge("SELECT * FROM sales WHERE")


def test_an_unknown_table_is_told_with_the_inputs_there_are() -> None:
    with pytest.raises(QueryRefused, match="there is no table sails; the inputs are: people, sales"):
        judge("SELECT * FROM sails")
