-- 0002 many processes
-- since 0.1.0, usable by libraries that know step 2

-- Of each step: the version of the library that brought it, and the last step a library must know to use the file.
ALTER TABLE asyncsched_migrations ADD COLUMN since TEXT;
ALTER TABLE asyncsched_migrations ADD COLUMN least INTEGER;

-- Which run a submit with an idempotency key gives until until_at. ended: it, as a row of history, once it has ended.
CREATE TABLE asyncsched_idempotency (key TEXT PRIMARY KEY, run TEXT NOT NULL, ended TEXT, until_at INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE INDEX asyncsched_idempotency_run ON asyncsched_idempotency (run);
CREATE INDEX asyncsched_idempotency_until ON asyncsched_idempotency (until_at);

-- Why a run under way is to stop: asked at another node than that which runs it, and gone when it has ended.
ALTER TABLE asyncsched_runs ADD COLUMN stop TEXT;
CREATE INDEX asyncsched_runs_stopping ON asyncsched_runs (owner) WHERE stop IS NOT NULL;

-- What an operator has put in place of what code declares, and what code keeps with the task: JSON.
ALTER TABLE asyncsched_tasks ADD COLUMN overrides TEXT;
ALTER TABLE asyncsched_tasks ADD COLUMN metadata TEXT;
CREATE INDEX asyncsched_tasks_due ON asyncsched_tasks (next_at) WHERE next_at IS NOT NULL AND paused_until_at IS NULL;
CREATE INDEX asyncsched_tasks_version ON asyncsched_tasks (version);
-- The tasks that nodes declare, some hundreds in one row (JSON); and until when, where no node does any more.
CREATE TABLE asyncsched_rosters (digest TEXT PRIMARY KEY, tasks TEXT NOT NULL, until_at INTEGER) WITHOUT ROWID;
CREATE TABLE asyncsched_serving (node TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (node, digest)) WITHOUT ROWID;
CREATE INDEX asyncsched_runs_parked ON asyncsched_runs (task) WHERE state = 5;
