"""The only doors to other people's machines. Nothing here knows of jobs, Celery or Flask."""
