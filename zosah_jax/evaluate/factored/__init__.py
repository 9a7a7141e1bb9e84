"""Answering probes along directions of low rank with one product that all of them share."""
