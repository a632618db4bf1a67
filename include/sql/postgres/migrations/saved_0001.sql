-- What people make of the numbers and keep: dashboards, views, questions. What is in one is the
-- dashboard's affair; who may see and change it is the server's.
CREATE TABLE saved_objects (
    object_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kind text NOT NULL CHECK (kind IN ('dashboard', 'view', 'question')),
    name text NOT NULL CHECK (name <> ''),
    description text NOT NULL DEFAULT '',
    owner text NOT NULL CHECK (owner <> ''),
    sharing text NOT NULL DEFAULT 'private' CHECK (sharing IN ('private', 'read', 'write')),
    content jsonb NOT NULL CHECK (jsonb_typeof(content) = 'object'),
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL,
    UNIQUE (owner, kind, name)
);
CREATE INDEX saved_objects_name ON saved_objects (name, object_id);
COMMENT ON COLUMN saved_objects.sharing IS
    'Who else has it: nobody; everyone, to read; analysts and above, to change';

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON saved_objects
FOR EACH ROW EXECUTE FUNCTION record_audit('object_id');
