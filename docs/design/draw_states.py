"""
Draws states.md from the tables that the package goes by.

    python docs/design/draw_states.py > docs/design/states.md
"""

from __future__ import annotations

from twisted_wsgiflush._states import REFUSALS, TRANSITIONS, Event, State

PAGE = """\
# The states of a response

Drawn by [draw_states.py](draw_states.py) from the tables in
[\\_states.py](../../twisted_wsgiflush/_states.py). A cell is the state that follows;
what is *in italics* is raised in the application.

{table}

With `exc_info`, once the headers are sent, `start_response` raises what is in there,
as PEP 3333 says.

States:

{states}

Events:

{events}
"""


def cell(state: State, event: Event) -> str:
    following = TRANSITIONS[state].get(event)
    return f"*{REFUSALS[state].__name__}*" if following is None else following.name


def explained(members: type[State] | type[Event]) -> str:
    lines = [f"- {member.name}: {member.value}" for member in members]
    return ";\n".join(lines) + "."


def page() -> str:
    rows = [
        ["", *(event.name for event in Event)],
        ["---"] * (len(Event) + 1),
        *([state.name, *(cell(state, event) for event in Event)] for state in State),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return PAGE.format(table=table, states=explained(State), events=explained(Event))


if __name__ == "__main__":
    print(page(), end="")
