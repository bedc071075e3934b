"""The version of P59, which packaging reads here."""

VERSION = "0.1.0"
