{#
  engine     none, a view of the newest versions in int_unique_user_versions_1h
  why        users is a mergeable state: uniqMerge(users) counts the users of any set of rows
#}
{{ unique_users(ref('int_unique_user_versions_1h')) }}
