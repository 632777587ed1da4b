from __future__ import annotations

from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from sqlalchemy import text

from streams.database.engine import Database
from streams.database.statements import packed, with_rows

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
rows = st.lists(st.tuples(st.none() | words, st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=30)


async def test_rows_arrive_as_they_were_sent(database: Database) -> None:
    sent: list[list[tuple[str | None, int | None]]] = []

    @given(rows)
    @budget(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    def collect(some: list[tuple[str | None, int | None]]) -> None:
        sent.append(some)

    collect()
    async with database.reading() as connection:
        statement = with_rows(connection, "SELECT word, number FROM ({rows}) AS sent", word=str, number=int)
        for some in sent:
            found = await connection.execute(statement, packed(some))
            assert [tuple(row) for row in found] == some


async def test_more_rows_than_a_statement_may_have_variables_are_one_statement(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE many (number BIGINT)"))
        statement = with_rows(connection, "INSERT INTO many (number) {rows}", number=int)
        await connection.execute(statement, packed([[number] for number in range(70_000)]))
        assert (await connection.execute(text("SELECT sum(number) FROM many"))).scalar_one() == sum(range(70_000))
