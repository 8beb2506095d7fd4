/** RFC 9457 problem document with leasehold's extension members. */
import Type from 'typebox';
import type { Static } from 'typebox';

export const InputProblem = Type.Object(
  {
    path: Type.String({ description: 'where in the input' }),
    message: Type.String({ description: 'what is wrong' }),
    allowed: Type.String({ description: 'what would be right; may be empty' }),
  },
  { description: 'one thing that is wrong with the input' },
);

export const Problem = Type.Object(
  {
    type: Type.String({ description: 'urn:leasehold:problem:<code>' }),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String({ description: 'for programs: the last part of the type' }),
    detail: Type.String({ description: 'for people: what happened and what to do' }),
    problems: Type.Optional(Type.Array(InputProblem)),
    known: Type.Optional(Type.Array(Type.String(), { description: 'the names that do exist' })),
    revision: Type.Optional(
      Type.Integer({ description: 'current revision of the cluster document; 0: none' }),
    ),
    removed: Type.Optional(
      Type.Array(Type.String(), { description: 'what a refused document would remove' }),
    ),
    confirm: Type.Optional(Type.String({ description: 'how to insist' })),
    operation: Type.Optional(Type.String({ description: 'id of the operation in the way' })),
  },
  {
    $id: 'Problem',
    examples: [
      {
        type: 'urn:leasehold:problem:unknown-name',
        title: 'No such object',
        status: 404,
        code: 'unknown-name',
        detail: 'there is no director "d9"; known: d1, d2',
        known: ['d1', 'd2'],
      },
    ],
  },
);

export type InputProblem = Static<typeof InputProblem>;
export type Problem = Static<typeof Problem>;

/** The error answers that every route may give. */
export const problemResponses = (
  ...statuses: readonly number[]
): Readonly<Record<string, unknown>> =>
  Object.fromEntries(
    statuses.map((status) => [
      String(status),
      {
        description: DESCRIPTIONS[status] ?? 'problem',
        content: { 'application/problem+json': { schema: { $ref: 'Problem#' } } },
      },
    ]),
  );

const DESCRIPTIONS: Readonly<Record<number, string>> = {
  400: 'the request does not fit its schema; all problems are listed',
  401: 'a valid token is needed',
  403: 'the role of the token does not allow this',
  404: 'no such object; the known names are listed',
  409: 'the state of the cluster does not allow this',
  412: 'changed by somebody else; the current revision is given',
  413: 'too large: the body, or what the cluster store would have to take; nothing was changed',
  422: 'the cluster document has problems; all are listed',
  428: 'If-Match is needed',
  503: 'the cluster store did not answer, nothing was changed; try again',
  504: 'the cluster store did not say whether the change was made',
};
