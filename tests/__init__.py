"""Tests: unit, contract, integration, faults."""
