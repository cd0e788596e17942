"""The rows: one module per table, and `lifecycle`, the only writer of a job's state."""

from models.api_key import ApiKey
from models.app import App
from models.attempt import Attempt
from models.base import Base
from models.event import Event
from models.file import File
from models.idempotency import IdempotencyKey
from models.job import Job
from models.kind import Kind
from models.worker import Worker

__all__ = ["ApiKey", "App", "Attempt", "Base", "Event", "File", "IdempotencyKey", "Job", "Kind", "Worker"]
