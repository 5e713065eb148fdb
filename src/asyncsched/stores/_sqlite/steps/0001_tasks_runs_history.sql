-- 0001 tasks, runs, history
-- since 0.1.0, usable by libraries that know step 1

CREATE TABLE asyncsched_counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE asyncsched_nodes (id TEXT PRIMARY KEY, name TEXT NOT NULL, started_at INTEGER NOT NULL);
-- declaration, trigger: JSON. next_at: the watermark.
CREATE TABLE asyncsched_tasks (
            id TEXT PRIMARY KEY, declaration TEXT NOT NULL, trigger TEXT, next_at INTEGER, version INTEGER NOT NULL,
            history_limit INTEGER NOT NULL, paused_until_at INTEGER, skip_at INTEGER, made INTEGER NOT NULL DEFAULT 0)
            WITHOUT ROWID;
-- Live rows only. state: see rows.py. holds: 1 a place under its key, 2 a start promised by its rate.
-- maker, owner: the node that wrote it, and that runs it. lost: how many of them vanished.
CREATE TABLE asyncsched_runs (seq INTEGER PRIMARY KEY AUTOINCREMENT, 
    id TEXT NOT NULL UNIQUE, task TEXT NOT NULL, created_at INTEGER NOT NULL, due_at INTEGER NOT NULL,
    scheduled_at INTEGER, stands_for INTEGER NOT NULL, terms TEXT, args TEXT, status TEXT NOT NULL, reason TEXT,
    attempt INTEGER NOT NULL, token INTEGER NOT NULL, node TEXT, first_at INTEGER, started_at INTEGER,
    finished_at INTEGER, result TEXT, error TEXT, notes TEXT, retry_of TEXT, flow TEXT, edges TEXT,
            state INTEGER NOT NULL, queue TEXT NOT NULL, priority INTEGER NOT NULL, grouped TEXT, limit_key TEXT,
            arrived_at INTEGER NOT NULL, lapses_at INTEGER, maker TEXT NOT NULL, owner TEXT,
            lost INTEGER NOT NULL DEFAULT 0, holds INTEGER NOT NULL DEFAULT 0);
CREATE INDEX asyncsched_runs_ready ON asyncsched_runs (queue, priority DESC, due_at, seq) WHERE state = 0;
CREATE INDEX asyncsched_runs_running ON asyncsched_runs (owner) WHERE state = 1;
CREATE INDEX asyncsched_runs_delayed ON asyncsched_runs (due_at) WHERE state = 2;
CREATE INDEX asyncsched_runs_task ON asyncsched_runs (task);
CREATE INDEX asyncsched_runs_lapsing ON asyncsched_runs (lapses_at) WHERE lapses_at IS NOT NULL;
CREATE INDEX asyncsched_runs_queued
            ON asyncsched_runs (limit_key, started_at IS NULL, priority DESC, arrived_at, seq) WHERE state = 4;
CREATE INDEX asyncsched_runs_holding ON asyncsched_runs (limit_key) WHERE holds != 0;
CREATE TABLE asyncsched_history (seq INTEGER PRIMARY KEY AUTOINCREMENT, 
    id TEXT NOT NULL UNIQUE, task TEXT NOT NULL, created_at INTEGER NOT NULL, due_at INTEGER NOT NULL,
    scheduled_at INTEGER, stands_for INTEGER NOT NULL, terms TEXT, args TEXT, status TEXT NOT NULL, reason TEXT,
    attempt INTEGER NOT NULL, token INTEGER NOT NULL, node TEXT, first_at INTEGER, started_at INTEGER,
    finished_at INTEGER, result TEXT, error TEXT, notes TEXT, retry_of TEXT, flow TEXT, edges TEXT);
CREATE INDEX asyncsched_history_task ON asyncsched_history (task, seq);
CREATE INDEX asyncsched_history_age ON asyncsched_history (created_at);
-- The starts that a rate looks back at. wake_at: when the next may start, if nothing else happens before.
CREATE TABLE asyncsched_keys (key TEXT PRIMARY KEY, starts TEXT NOT NULL, count INTEGER NOT NULL,
            period INTEGER NOT NULL, last_at INTEGER, wake_at INTEGER) WITHOUT ROWID;
-- Which run stands for several submits. ended: it, where it has ended; it then stands until until_at.
CREATE TABLE asyncsched_standing (key TEXT PRIMARY KEY, run TEXT NOT NULL, ended TEXT, until_at INTEGER)
            WITHOUT ROWID;
CREATE INDEX asyncsched_standing_until ON asyncsched_standing (until_at) WHERE until_at IS NOT NULL;
-- Who needs whom, until the one that needs has ended; status and reason once the upstream has.
CREATE TABLE asyncsched_needs (upstream TEXT NOT NULL, run TEXT NOT NULL, status TEXT, reason TEXT,
            PRIMARY KEY (upstream, run)) WITHOUT ROWID;
CREATE INDEX asyncsched_needs_run ON asyncsched_needs (run);
-- Of each task in a graph: its last success, as a row of history; of a join: the flows that it took last.
CREATE TABLE asyncsched_marks (task TEXT PRIMARY KEY, succeeded TEXT, taken TEXT) WITHOUT ROWID;
