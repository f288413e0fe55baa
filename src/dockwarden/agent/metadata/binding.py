"""Who was the officer, and which task: what the registry and the device's own words say of a record."""

from dockwarden.agent.metadata.registry import Registry
from dockwarden.rules.labels import Label, parse_case_number


def registry_label(
    registry: Registry, device: str, named_officer: str | None, started: str | None, important: bool
) -> Label:
    """Return what is known without asking a person.

    The device's binding names the officer; a number in the file's name is only a hint, taken where the device is
    bound to nobody and the registry knows the number. Case, party and activity come from the officer's task at
    `started` (UTC), and only where there is exactly one: of two, a person chooses.
    """
    binding = registry.binding(device)
    if binding is not None:
        officer_id, officer_name = binding.officer_id, binding.officer_name
    elif named_officer is not None and (name := registry.officer_name(named_officer)) is not None:
        officer_id, officer_name = named_officer, name
    else:
        return Label(important=important)
    label = Label(officer_id=officer_id, officer_name=officer_name, important=important)
    tasks = registry.tasks(officer_id, started) if started is not None else []
    if len(tasks) != 1:
        return label
    task = tasks[0]
    return Label(
        case=parse_case_number(task.case),
        party=task.party,
        officer_id=officer_id,
        officer_name=officer_name,
        activity=task.activity,
        important=important,
    )
