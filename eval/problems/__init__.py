"""Problems whose solutions are judged by unit tests."""
