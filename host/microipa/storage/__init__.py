"""Databases of the servers: connections, transactions, tables."""
