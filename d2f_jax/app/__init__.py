"""The page: click where it should be sharp. `d2f app` starts it; extra `app`."""
