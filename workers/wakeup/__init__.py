"""Wake-ups over Redis: the doorbell towards the dispatcher, announcements towards those who wait. Neither decides."""
