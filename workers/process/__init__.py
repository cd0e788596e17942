"""What a worker process is besides its attempts: its row, and Celery put right to treat messages as hints."""
