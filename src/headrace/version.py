"""The version of this program, apart from the public face so that any room may name it."""

VERSION = "0.1.0"
