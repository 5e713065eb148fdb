-- 0003 what nodes say
-- since 0.1.0, usable by libraries that know step 2

-- said: what a node says of itself (JSON). asked: somebody has asked it to drain. A table of its own: libraries that
-- know no more than step 2 write the nodes themselves.
CREATE TABLE asyncsched_reports (
    node TEXT PRIMARY KEY, said TEXT, asked INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
