"""The engine: requirements, checks, target, plan, execution, verdict."""
