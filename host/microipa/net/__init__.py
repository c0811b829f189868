"""HTTPS and TLS as all servers and their clients use them (SGP.22 6.1)."""
