"""The gateway: serves the connectors' endpoints to Publik, one scheme, one envelope, deny by default."""
