"""A benchmark of the eIM as a server: real DTLS, TLS and signatures, devices made beforehand."""
