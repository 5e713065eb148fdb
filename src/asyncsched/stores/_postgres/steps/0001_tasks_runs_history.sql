-- 0001 tasks, runs, history
-- since 0.1.0, usable by libraries that know step 1

-- The clock by which every instant of tasks and runs is compared.
CREATE FUNCTION asyncsched.now_us() RETURNS bigint LANGUAGE sql VOLATILE PARALLEL SAFE
    AS 'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint';

CREATE TABLE asyncsched.counts (name text PRIMARY KEY, value bigint NOT NULL);
-- Leases. expires_at is not in an index, so that a renewal changes none. said: what a node says of itself (JSON).
-- asked: somebody has asked it to drain.
CREATE TABLE asyncsched.nodes (id text COLLATE "C" PRIMARY KEY, name text NOT NULL, started_at bigint NOT NULL,
    expires_at bigint NOT NULL, lease bigint NOT NULL, said text, asked boolean NOT NULL DEFAULT false)
    WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
-- declaration, trigger, overrides, metadata: JSON. next_at: the watermark. touched: the last transaction that let a run
-- of the task go after it had counted those on their way: a fire that does not see it has counted too few.
CREATE TABLE asyncsched.tasks (id text COLLATE "C" PRIMARY KEY, declaration text NOT NULL, trigger text, next_at bigint,
    version bigint NOT NULL, history_limit bigint NOT NULL, paused_until_at bigint, skip_at bigint,
    made bigint NOT NULL DEFAULT 0, overrides text, metadata text, touched xid8) WITH (fillfactor = 70);
CREATE INDEX tasks_due ON asyncsched.tasks (next_at, id) WHERE next_at IS NOT NULL AND paused_until_at IS NULL;
CREATE INDEX tasks_version ON asyncsched.tasks (version);
-- The tasks that nodes declare, some hundreds in one row; and until when, where no node does any more.
CREATE TABLE asyncsched.rosters (digest text COLLATE "C" PRIMARY KEY, tasks text[] NOT NULL, until_at bigint);
CREATE TABLE asyncsched.serving (node text COLLATE "C" NOT NULL, digest text COLLATE "C" NOT NULL,
    PRIMARY KEY (node, digest));
-- Live rows only. state: see rows.py. holds: 1 a place under its key, 2 a start promised by its rate.
-- plain: its start and its end concern nobody else. maker, owner: the node that wrote it, and that runs it. lost: how
-- many of them vanished. stop: why it is to stop, asked at another node.
CREATE TABLE asyncsched.runs (
    id text COLLATE "C" PRIMARY KEY, task text COLLATE "C" NOT NULL, created_at bigint NOT NULL, due_at bigint NOT NULL,
    scheduled_at bigint, stands_for bigint NOT NULL, terms text, args text, status text NOT NULL, reason text,
    attempt bigint NOT NULL, token bigint NOT NULL, node text, first_at bigint, started_at bigint, finished_at bigint,
    result text, error text, notes text, retry_of text, flow text COLLATE "C", edges text,
    seq bigint GENERATED ALWAYS AS IDENTITY, state smallint NOT NULL, plain boolean NOT NULL,
    queue text COLLATE "C" NOT NULL, priority bigint NOT NULL, grouped text COLLATE "C", limit_key text COLLATE "C",
    arrived_at bigint NOT NULL, lapses_at bigint, maker text NOT NULL, owner text, lost integer NOT NULL DEFAULT 0,
    holds smallint NOT NULL DEFAULT 0, stop text, CHECK ((state = 1) = (owner IS NOT NULL)))
    WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX runs_ready ON asyncsched.runs (queue, priority DESC, due_at, seq) WHERE state = 0;
CREATE INDEX runs_special ON asyncsched.runs (queue) WHERE state = 0 AND (holds >= 2 OR lost >= 2);
CREATE INDEX runs_delayed ON asyncsched.runs (due_at) WHERE state = 2;
CREATE INDEX runs_keyed ON asyncsched.runs (due_at) WHERE state = 2 AND limit_key IS NOT NULL;
CREATE INDEX runs_task ON asyncsched.runs (task, (state = 1));
CREATE INDEX runs_fired ON asyncsched.runs (seq) WHERE scheduled_at IS NOT NULL;
CREATE INDEX runs_lapsing ON asyncsched.runs (lapses_at) WHERE lapses_at IS NOT NULL;
CREATE INDEX runs_queued ON asyncsched.runs (limit_key, (started_at IS NULL), priority DESC, arrived_at, seq)
    WHERE state = 4;
CREATE INDEX runs_holding ON asyncsched.runs (limit_key) WHERE holds <> 0;
CREATE INDEX runs_stopping ON asyncsched.runs (owner) WHERE stop IS NOT NULL;
CREATE INDEX runs_parked ON asyncsched.runs (task) WHERE state = 5;
CREATE TABLE asyncsched.history (
    id text COLLATE "C" PRIMARY KEY, task text COLLATE "C" NOT NULL, created_at bigint NOT NULL, due_at bigint NOT NULL,
    scheduled_at bigint, stands_for bigint NOT NULL, terms text, args text, status text NOT NULL, reason text,
    attempt bigint NOT NULL, token bigint NOT NULL, node text, first_at bigint, started_at bigint, finished_at bigint,
    result text, error text, notes text, retry_of text, flow text COLLATE "C", edges text,
    seq bigint GENERATED ALWAYS AS IDENTITY, queue text COLLATE "C" NOT NULL)
    WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX history_task ON asyncsched.history (task, seq);
CREATE INDEX history_seq ON asyncsched.history (seq);
CREATE INDEX history_age ON asyncsched.history (created_at);
-- The starts that a rate looks back at. wake_at: when the next may start, if nothing else happens before.
CREATE TABLE asyncsched.keys (key text COLLATE "C" PRIMARY KEY, starts text NOT NULL, count bigint NOT NULL,
    period bigint NOT NULL, last_at bigint, wake_at bigint);
CREATE INDEX keys_wake ON asyncsched.keys (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX keys_last ON asyncsched.keys (last_at);
-- Which run stands for several submits. ended: it, where it has ended; it then stands until until_at.
CREATE TABLE asyncsched.standing (key text COLLATE "C" PRIMARY KEY, run text NOT NULL, ended text, until_at bigint);
CREATE INDEX standing_until ON asyncsched.standing (until_at) WHERE until_at IS NOT NULL;
-- Which run a submit with an idempotency key gives until until_at. ended: it, as a row of history, once it has ended.
CREATE TABLE asyncsched.idempotency (key text COLLATE "C" PRIMARY KEY, run text COLLATE "C" NOT NULL, ended text,
    until_at bigint NOT NULL);
CREATE INDEX idempotency_run ON asyncsched.idempotency (run);
CREATE INDEX idempotency_until ON asyncsched.idempotency (until_at);
-- Who needs whom, until the one that needs has ended; status and reason once the upstream has.
CREATE TABLE asyncsched.needs (upstream text COLLATE "C" NOT NULL, run text COLLATE "C" NOT NULL, status text,
    reason text, PRIMARY KEY (upstream, run));
CREATE INDEX needs_run ON asyncsched.needs (run);
CREATE INDEX needs_ended ON asyncsched.needs (run) WHERE status IS NOT NULL;
-- Of each task in a graph: its last success, as a row of history; of a join: the flows that it took last.
CREATE TABLE asyncsched.marks (task text COLLATE "C" PRIMARY KEY, succeeded text, taken text);
