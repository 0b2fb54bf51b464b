"""Reads a GraphQL document that asks for fields with arguments: no fragments, one operation."""

from collections.abc import Mapping
from typing import Any

from graphql import GraphQLError, parse, value_from_ast_untyped
from graphql.language import FieldNode, OperationDefinitionNode, SelectionSetNode

from api.routes.truss.query import QueryError, QueryField

MOST_TOKENS = 20_000  # a chain with 100 chainlets has about 2,000
SHOWN = 200  # characters of an error


def read(query: str, variables: Mapping[str, Any]) -> tuple[str, tuple[QueryField, ...]]:
    """`query` or `mutation`, and the outermost fields. Raises QueryError."""
    try:
        document = parse(query, no_location=True, max_tokens=MOST_TOKENS)
        operations = document.definitions
        if len(operations) != 1 or not isinstance(operations[0], OperationDefinitionNode):
            raise QueryError("Send one query or mutation.")
        return operations[0].operation.value, _fields(operations[0].selection_set, variables)
    except GraphQLError as error:
        raise QueryError(f"The query cannot be read: {error.message[:SHOWN]}") from None
    except RecursionError:
        raise QueryError("The query is nested too deeply.") from None


def _fields(
    selection: SelectionSetNode | None, variables: Mapping[str, Any]
) -> tuple[QueryField, ...]:
    return tuple(_field(node, variables) for node in (selection.selections if selection else ()))


def _field(node: object, variables: Mapping[str, Any]) -> QueryField:
    if not isinstance(node, FieldNode):
        raise QueryError("Fragments are not supported.")
    arguments = {
        argument.name.value: value_from_ast_untyped(argument.value, dict(variables))
        for argument in node.arguments or ()
    }
    key = node.alias.value if node.alias else node.name.value
    return QueryField(node.name.value, key, arguments, _fields(node.selection_set, variables))
