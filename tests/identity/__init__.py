"""One log through two revisions of Clickstage: are decisions and summaries the same bytes?

    python -m tests.identity                              # commit c8d4f88 against this tree
    python -m tests.identity --base main~3 --candidate . --events 50000

A side is a git revision or a folder. Each side gets a Kafka, a Redis and a worker of its own, and is used by its
command line only, so the two may be laid out in any way. `log` makes the records, `side` runs them, `compare` says
what differs.

The log is the same to the byte at each run of one seed. It is made so that no result depends on how a worker cuts it
into batches: `steady` says which rules that takes. Two runs of one revision must therefore agree, too
(``--candidate c8d4f88``).

Only times of computing are left out: ``decided_at`` and ``expires_at``, which follows from it.
"""
