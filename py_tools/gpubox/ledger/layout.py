"""Tables of the ledger, and how an older ledger becomes one of today.

`PRAGMA user_version` counts the migrations that a file has been through. Migrations are only ever added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.errors import Failed

if TYPE_CHECKING:
    import sqlite3

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE boxes (
          id INTEGER PRIMARY KEY,
          name TEXT NOT NULL,
          provider TEXT NOT NULL,
          provider_ref TEXT,
          state TEXT NOT NULL CHECK (state IN ('intended', 'running', 'stopped', 'released')),
          host TEXT,
          port INTEGER,
          user TEXT,
          proxy_jump TEXT,
          host_key TEXT,
          identity_file TEXT,
          box_file TEXT,
          root TEXT,
          data_dir TEXT,
          facts TEXT,
          digest TEXT,
          created_at TEXT NOT NULL,
          updated_at TEXT NOT NULL
        )
        """,
        # Released boxes stay, as history; a name is free again once its box is released.
        "CREATE UNIQUE INDEX live_box_of_name ON boxes (name) WHERE state <> 'released'",
        """
        CREATE TABLE audits (
          id INTEGER PRIMARY KEY,
          box_id INTEGER NOT NULL REFERENCES boxes (id),
          action TEXT NOT NULL,
          outcome TEXT NOT NULL CHECK (outcome IN ('begun', 'done', 'failed')),
          detail TEXT NOT NULL,
          at TEXT NOT NULL
        )
        """,
        "CREATE INDEX audits_of_box ON audits (box_id)",
    ),
    (
        *(
            f'ALTER TABLE boxes ADD COLUMN "{column}" {kind}'
            for column, kind in (
                ("order", "TEXT"),
                ("gpu", "TEXT"),
                ("gpu_count", "INTEGER"),
                ("region", "TEXT"),
                # Money is text: SQLite would make a float of it.
                ("price_per_hour", "TEXT"),
                ("stopped_per_hour", "TEXT"),
                ("currency", "TEXT"),
                ("budget", "TEXT"),
                ("guard_at", "TEXT"),
                ("powered_off_at", "TEXT"),
                ("erase_at", "TEXT"),
            )
        ),
        # What is intended is going to be ordered.
        """
        UPDATE boxes SET "order" = 'gpubox-' || name || '-' || lower(hex(randomblob(4))) WHERE state = 'intended'
        """,
        'CREATE UNIQUE INDEX box_of_order ON boxes ("order") WHERE "order" IS NOT NULL',
        "CREATE INDEX boxes_of_ref ON boxes (provider, provider_ref)",
        """
        CREATE TABLE rates (
          id INTEGER PRIMARY KEY,
          box_id INTEGER NOT NULL REFERENCES boxes (id),
          at TEXT NOT NULL,
          state TEXT NOT NULL CHECK (state IN ('running', 'stopped', 'released')),
          per_hour TEXT,
          currency TEXT,
          assumed INTEGER NOT NULL CHECK (assumed IN (0, 1)),
          CHECK (per_hour IS NULL OR currency IS NOT NULL OR per_hour = '0')
        )
        """,
        "CREATE INDEX rates_of_box ON rates (box_id)",
        # Of boxes that are known already, the price is still to be learned.
        """
        INSERT INTO rates (box_id, at, state, assumed)
        SELECT id, CASE state WHEN 'running' THEN created_at ELSE updated_at END, state, 1
        FROM boxes WHERE state IN ('running', 'stopped')
        """,
        """
        CREATE TABLE balances (
          id INTEGER PRIMARY KEY,
          provider TEXT NOT NULL,
          at TEXT NOT NULL,
          amount TEXT NOT NULL,
          currency TEXT NOT NULL
        )
        """,
        """
        CREATE TABLE backups (
          id INTEGER PRIMARY KEY,
          box_id INTEGER NOT NULL REFERENCES boxes (id),
          at TEXT NOT NULL,
          place TEXT NOT NULL,
          files INTEGER NOT NULL,
          size INTEGER NOT NULL,
          sha256 TEXT NOT NULL
        )
        """,
        "CREATE INDEX backups_of_box ON backups (box_id)",
    ),
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to the newest layout, all or nothing. Raises `Failed` for one that a newer gpubox made."""
    if _version(connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)  # Another process may have migrated it while this one waited for the lock.
        if version > len(MIGRATIONS):
            raise Failed(
                f"the ledger was written by a newer gpubox (layout {version}; this one knows {len(MIGRATIONS)})",
                hint="pip install --upgrade gpubox",
            )
        for statement in [statement for script in MIGRATIONS[version:] for statement in script]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
