-- Of a call that was noted: the receiver has taken it.
ALTER TABLE automation_calls ADD COLUMN arrived boolean NOT NULL DEFAULT false;
