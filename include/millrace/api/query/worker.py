"""The ASGI application that a worker process loads."""

from __future__ import annotations

import logging

from millrace.api.query.app import create
from millrace.api.query.protection import protected
from millrace.settings import Settings

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

_settings = Settings()
app = protected(create(_settings), _settings)
