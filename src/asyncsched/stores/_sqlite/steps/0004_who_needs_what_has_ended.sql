-- 0004 who needs what has ended
-- since 0.1.0, usable by libraries that know step 2

-- So that a sweep finds them without reading all that is needed by anybody.
CREATE INDEX asyncsched_needs_ended ON asyncsched_needs (run) WHERE status IS NOT NULL;
