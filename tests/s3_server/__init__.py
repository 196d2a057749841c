"""An S3 server (moto) in a process of its own, which tests kill, slow down and count the requests of."""
