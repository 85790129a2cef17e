"""Five hundred statements that a model must not get away with."""

from __future__ import annotations

ENDLESS = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t)"
DOUBLING = "WITH RECURSIVE t(x) AS (SELECT '{seed}' UNION ALL SELECT x || x FROM t LIMIT {rows})"
_PRAGMAS = """
application_id=1 auto_vacuum=2 automatic_index=0 busy_timeout=1 cache_size=-900000 cache_spill=0
case_sensitive_like=1 cell_size_check=0 checkpoint_fullfsync=1 collation_list data_version
database_list defer_foreign_keys=1 encoding='UTF-16' foreign_key_check foreign_keys=0
freelist_count fullfsync=1 function_list hard_heap_limit=0 ignore_check_constraints=1
incremental_vacuum integrity_check journal_mode=WAL journal_mode=DELETE journal_size_limit=0
legacy_alter_table=1 locking_mode=EXCLUSIVE max_page_count=9 mmap_size=99999999 module_list
optimize page_count page_size=512 pragma_list query_only=0 quick_check read_uncommitted=1
recursive_triggers=1 reverse_unordered_selects=1 schema_version=9 secure_delete=1 shrink_memory
soft_heap_limit=0 synchronous=OFF table_list temp_store=FILE temp_store_directory='{aside}'
threads=8 trusted_schema=1 user_version=7 wal_autocheckpoint=1 wal_checkpoint(TRUNCATE)
writable_schema=1
"""
PRAGMAS = _PRAGMAS.split()
WRITES = """
INSERT INTO item VALUES (1, 'x', 1)
INSERT INTO item DEFAULT VALUES
INSERT INTO item SELECT * FROM item
INSERT OR REPLACE INTO item VALUES (1, 'x', 1) RETURNING *
WITH t AS (SELECT 1) INSERT INTO item SELECT 1, 'x', 1 FROM t
REPLACE INTO item VALUES (1, 'x', 1)
UPDATE item SET name = 'x'
UPDATE item SET name = 'x' WHERE id = 1 RETURNING id
DELETE FROM item
DELETE FROM item WHERE id = 1 RETURNING id
DROP TABLE item
DROP TABLE IF EXISTS item
ALTER TABLE item ADD COLUMN x
ALTER TABLE item RENAME TO x
ALTER TABLE item DROP COLUMN name
CREATE TABLE x (a)
CREATE TABLE x AS SELECT * FROM item
CREATE TEMP TABLE x AS SELECT * FROM item
CREATE INDEX x ON item (id)
CREATE VIEW x AS SELECT 1
CREATE TEMP VIEW x AS SELECT 1
CREATE TRIGGER x AFTER INSERT ON item BEGIN DELETE FROM item; END
CREATE VIRTUAL TABLE x USING fts5(a)
CREATE VIRTUAL TABLE x USING fts4(a)
CREATE VIRTUAL TABLE x USING rtree(a, b, c)
CREATE VIRTUAL TABLE x USING csv(filename='/etc/passwd')
CREATE VIRTUAL TABLE temp.x USING dbstat
ANALYZE
REINDEX
VACUUM
VACUUM INTO '{aside}/copy.sqlite'
VACUUM main INTO '{aside}/copy.sqlite'
BEGIN
BEGIN EXCLUSIVE
COMMIT
ROLLBACK
SAVEPOINT x
RELEASE x
EXPLAIN DELETE FROM item
EXPLAIN QUERY PLAN DELETE FROM item
ATTACH '{aside}/other.sqlite' AS other
ATTACH DATABASE 'file:{aside}/other.sqlite?mode=rwc' AS other
ATTACH ':memory:' AS other
ATTACH '' AS other
DETACH main
SELECT 1; DROP TABLE item
SELECT 1; ATTACH '{aside}/other.sqlite' AS other
SELECT * FROM item; DELETE FROM item;
/* read */ DROP TABLE item
; DROP TABLE item
""".strip().split("\n")
READS = """
SELECT readfile('/etc/passwd')
SELECT writefile('{aside}/x', 'x')
SELECT edit('x')
SELECT * FROM fsdir('/')
SELECT * FROM zipfile('{aside}/x.zip')
SELECT * FROM csv('/etc/passwd')
SELECT * FROM sqlite_dbpage
SELECT * FROM dbstat
SELECT * FROM bytecode('SELECT 1')
SELECT * FROM tables_used('SELECT 1')
SELECT * FROM sqlite_stmt
SELECT load_extension('x')
SELECT load_extension('/lib/x86_64-linux-gnu/libc.so.6', 'system')
SELECT load_extension(x'00')
SELECT fts3_tokenizer('simple')
SELECT fts3_tokenizer('simple', x'4141414141414141')
SELECT sqlite_compileoption_get(1), randomblob(1)
SELECT name FROM pragma_database_list
SELECT * FROM pragma_user_version
SELECT * FROM pragma_table_info('item')
SELECT * FROM pragma_function_list
SELECT * FROM pragma_module_list
SELECT * FROM temp.sqlite_master
SELECT sql FROM sqlite_temp_master
""".strip().split("\n")
STRINGS = """
SELECT zeroblob({n})
SELECT hex(zeroblob({n}))
SELECT length(zeroblob({n}) || zeroblob({n}))
SELECT randomblob({n})
SELECT printf('%.{n}c', 'a')
SELECT printf('%{n}d', 1)
SELECT printf('%*d', {n}, 1)
SELECT replace(printf('%.{n}c', 'a'), 'a', 'bbbbbbbbbb')
SELECT group_concat(zeroblob({n})) FROM item a, item b
SELECT json_group_array(printf('%.{n}c', 'a')) FROM item a, item b
SELECT quote(zeroblob({n}))
SELECT upper(printf('%.{n}c', 'a'))
SELECT max(length(printf('%.{n}c', id))) FROM item
SELECT count(DISTINCT printf('%.{n}c', a.id) || b.id) FROM item a, item b
SELECT instr(printf('%.{n}c', 'a'), printf('%.{n}c', 'a') || 'b')
SELECT printf('%.{n}c', 'a') LIKE '%a%a%a%a%a%a%a%a%b'
SELECT printf('%.{n}c', 'a') GLOB '*a*a*a*a*a*a*a*a*b'
SELECT trim(printf('%.{n}c', 'a'), 'a')
""".strip().split("\n")
JOINS = """
SELECT count(*) FROM {tables}
SELECT * FROM {tables}
SELECT DISTINCT t0.name, t1.name FROM {tables}
SELECT max(t0.id + t1.id) FROM {tables} GROUP BY t0.id, t1.id
SELECT t0.name FROM {tables} ORDER BY t0.price + t1.price, t1.name
SELECT sum(t0.id) OVER (ORDER BY t1.id) FROM {tables}
SELECT group_concat(t0.name) FROM {tables}
SELECT 1 FROM {tables} WHERE t0.id < 0 OR t1.id < 0
""".strip().split("\n")


def statements(aside: str) -> list[str]:
    """All of them; `aside` is a folder in which nothing may appear."""
    found = [text.replace("{aside}", aside) for text in WRITES + READS]
    found += [f"PRAGMA {each}".replace("{aside}", aside) for each in PRAGMAS]
    found += [f"SELECT * FROM pragma_{each.split('=')[0].split('(')[0]}" for each in PRAGMAS]
    sizes = (10**6, 10**7, 10**8, 10**9, 2 * 10**9)
    found += [text.replace("{n}", str(n)) for text in STRINGS for n in sizes]
    found += [
        text.replace("{tables}", ", ".join(f"item t{n}" for n in range(count)))
        for text in JOINS
        for count in (4, 6, 9)
    ]
    return list(dict.fromkeys(found + _bombs() + _deep() + _odd()))


def _bombs() -> list[str]:
    found = [
        f"{ENDLESS} {rest}"
        for rest in (
            *("SELECT x FROM t", "SELECT max(x) FROM t", "SELECT count(*) FROM t, t AS u"),
            *(
                "SELECT x FROM t ORDER BY -x",
                "SELECT DISTINCT x / 7 FROM t",
                "SELECT * FROM t, item",
            ),
            *("SELECT group_concat(x) FROM t", "SELECT json_group_array(x) FROM t"),
            *(
                "SELECT x FROM t WHERE x < 0",
                "SELECT x FROM t LIMIT -1",
                "SELECT x FROM t LIMIT 9e9",
            ),
            *("SELECT sum(x) OVER (ORDER BY x) FROM t", "SELECT id IN (SELECT x FROM t) FROM item"),
            *("SELECT x FROM t EXCEPT SELECT 1", "SELECT x FROM t UNION SELECT x + 1 FROM t"),
        )
    ]
    for rows in (25, 30, 40, 100, 1000):
        for seed in ("a", "ab" * 50):
            doubling = DOUBLING.format(seed=seed, rows=rows)
            found += [f"{doubling} SELECT {rest} FROM t" for rest in ("x", "max(length(x))")]
    return found


def _deep() -> list[str]:
    found = []
    for n in (20, 30, 100, 300, 3000, 30_000):
        found += [
            f"SELECT {'(' * n}1{')' * n}",
            f"SELECT {'(' * n}1",
            f"SELECT {'abs(' * n}1{')' * n}",
            f"SELECT {'NOT ' * n}1",
            f"SELECT {'- ' * n}1",
            f"SELECT 1{' + 1' * n}",
            f"SELECT 1{' AND 1 OR 0' * n}",
            f"SELECT * FROM {'(SELECT * FROM ' * n}item{')' * n}",
            f"SELECT * FROM item WHERE {'id IN (SELECT id FROM item WHERE ' * n}1{')' * n}",
            f"SELECT {'CASE WHEN 1 THEN ' * n}1{' END' * n}",
            f"SELECT 1{' UNION ALL SELECT 1' * n}",
            f"SELECT 1{' INTERSECT SELECT 1' * n}",
            f"SELECT {', '.join(['*'] * n)} FROM item",
            f"SELECT {', '.join(['zeroblob(900000)'] * n)}",
            f"VALUES {', '.join(['(1)'] * n)}",
            f"SELECT json('{'[' * n}{']' * n}')",
            f"SELECT id FROM item ORDER BY {', '.join(['id'] * n)}",
            f"SELECT 1 IN ({', '.join(['1'] * n)})",
            f"SELECT * FROM item{' JOIN item USING (id)' * n}",
            f"WITH {', '.join(f't{k} AS (SELECT 1)' for k in range(min(n, 3000)))} SELECT 1",
            f"SELECT max({', '.join(['1'] * n)})",
        ]
    return found


def _odd() -> list[str]:
    texts = [
        *(
            "",
            " ",
            ";",
            ";;;",
            "--",
            "-- SELECT 1",
            "/*",
            "/* SELECT 1 */",
            "'",
            '"',
            "`",
            "[",
            "(",
        ),
        *(
            "\0",
            "SELECT \0",
            "SELECT 1\0; DROP TABLE item",
            "SELECT '\0'",
            "\ud800",
            "SELECT '\udfff'",
        ),
        *("SELECT '\ud83d' || '\ude00'", "\ufeffSELECT 1", "\u202eSELECT 1", "SÉLECT 1", "\x1b[2J"),
        *("SELECT ?", "SELECT ?99999", "SELECT :a, @b, $c", "SELECT ?1, ?2", "SELECT $a::b(c)"),
        *("SELECT", "SELECT FROM", "SELECT * FROM nothing", "SELECT nothing FROM item", "SELEC 1"),
        *("SELECT abs(-9223372036854775808)", "SELECT 9223372036854775807 + 1", "SELECT 9e999"),
        *(
            "SELECT 1 / 0",
            "SELECT x'0'",
            "SELECT CAST(x'ff' AS TEXT)",
            "SELECT sum(9223372036854775807) FROM item",
        ),
        *(
            "SELECT likelihood(1, 2)",
            "SELECT zeroblob(-1)",
            "SELECT char(1114112)",
            "SELECT json('{')",
        ),
        *(
            "SELECT RAISE(ABORT, 'x')",
            "SELECT * FROM generate_series(1, 1e12)",
            "SELECT random() FROM item",
        ),
        *(
            "SELECT strftime('%s', 'now', '1e300 years')",
            "SELECT soundex('x')",
            "SELECT unknown(1)",
        ),
        *(
            "SELECT name COLLATE nothing FROM item",
            "SELECT id FROM item LIMIT 1e400",
            "EXPLAIN SELECT 1",
        ),
        *(
            "SELECT * FROM item NATURAL JOIN item",
            "SELECT rowid, * FROM item",
            "SELECT * FROM json_each('[1]')",
        ),
        *("SELECT * FROM json_tree(printf('%.99999c', '['))", "SELECT \u200b1", "SELECT 'a' 'b'"),
    ]
    texts += [f"SELECT {mark * 49_000}" for mark in ("[", "'", '"', "`", "/*", "[]", "is ", "> ")]
    return texts + [f"SELECT '{'x' * n}'" for n in (10**4, 10**5, 10**6, 10**7)]
