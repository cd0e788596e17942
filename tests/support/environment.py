"""The environment that every test process starts from; the addresses of real servers are put in when they run."""

ENVIRONMENT = {
    "DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "MAINSTAY_KEY_PEPPER": "a pepper that only tests know",
    "MAINSTAY_ENV": "test",
    "MAINSTAY_INSTALLATION_ID": "tests",
    "MAINSTAY_RATE_LIMIT_PER_SECOND": "100000",
    "MAINSTAY_LOG_FORMAT": "console",
    "MAINSTAY_LOG_LEVEL": "WARNING",
}
