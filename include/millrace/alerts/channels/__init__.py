"""The forms that notifications take: Slack, PagerDuty, webhook, e-mail.

Each module builds its channel's payload from a message and sends it with a client that the caller
has connected, so that connections and secrets stay where they are kept.
"""
