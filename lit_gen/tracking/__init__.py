"""Where runs are told: loggers, and which code made them."""
