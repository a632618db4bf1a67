-- Name who makes the changes of this transaction: the actor, whoever was named before, or the login.
SELECT set_config(
    'millrace.actor',
    coalesce(%(actor)s, nullif(current_setting('millrace.actor', true), ''), %(login)s),
    true
)
