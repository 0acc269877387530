"""Pairs of radiograph and soft-tissue image drawn from one body in layers."""
