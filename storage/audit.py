"""The exact audit: every sum and counter against the rows that it stands for.

Each question is one query that finds only what is wrong, so a sound database answers with nothing.
"""

from collections.abc import Iterator

from sqlalchemy import Connection, text

_QUESTIONS = {
    "Job {0} has {1} reserve entries instead of one.": """
        SELECT job.id, count(ledger.id) FROM job
        LEFT JOIN ledger ON ledger.job = job.id AND ledger.kind = 'reserve'
        GROUP BY job.id HAVING count(ledger.id) <> 1
    """,
    "Job {0} is {1} and has {2} capture and {3} refund entries.": """
        SELECT job.id, job.state, coalesce(sum(ledger.kind = 'capture'), 0), coalesce(sum(ledger.kind = 'refund'), 0)
        FROM job LEFT JOIN ledger ON ledger.job = job.id
        GROUP BY job.id, job.state
        HAVING coalesce(sum(ledger.kind = 'capture'), 0) <> (job.state IN ('rendered', 'delivered'))
        OR coalesce(sum(ledger.kind = 'refund'), 0) <> (job.state IN ('failed', 'cancelled', 'dead'))
    """,
}


def problems(tx: Connection) -> list[str]:
    return list(_problems(tx))


def _problems(tx: Connection) -> Iterator[str]:
    for sentence, question in _QUESTIONS.items():
        for row in tx.execute(text(question)):
            yield sentence.format(*row)
