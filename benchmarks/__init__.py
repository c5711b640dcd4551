"""What a call through Relais costs, beside other ways of doing the same work on the same machine."""
