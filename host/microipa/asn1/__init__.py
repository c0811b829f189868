"""What goes over the wires, in ASN.1: TLV slices, schemas, and words for people."""

from microipa.asn1.schema import Schema, SchemaError, rsp, saip, sgp32

__all__ = ["Schema", "SchemaError", "rsp", "saip", "sgp32"]
