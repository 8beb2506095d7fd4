/** The shape of checks in the cluster document: one kind each, or several under `all` or `any`. */
import Type from 'typebox';
import type { Static } from 'typebox';
import { DNS_RCODES, DNS_TYPES } from '../model/check.ts';
import { NAME_PATTERN } from '../model/ids.ts';
import {
  Address,
  Command,
  Count,
  Duration,
  File,
  Name,
  Port,
  strict,
  User,
} from './schema-words.ts';

/** A body or an answer beyond this is no answer to a check. */
export const BODY_MAX = 1_048_576;

const wordsOf = <T extends string>(words: Readonly<Record<T, number>>): T[] =>
  Object.keys(words) as T[];

const Text = Type.String({ minLength: 1, maxLength: 4096 });
const Hex = Type.Object({ hex: Type.String({ minLength: 2, maxLength: 8192 }) }, strict);
const Bytes = Type.Union([Text, Hex], {
  description: 'a text such as "PING\\r\\n", or { hex: "50 49 4e 47" }',
});
const Match = Type.Union(
  [
    Text,
    Type.Object(
      {
        regex: Type.Optional(Type.String({ minLength: 1, maxLength: 512 })),
        ignoreCase: Type.Optional(Type.Boolean()),
        hex: Type.Optional(Type.String({ minLength: 2, maxLength: 8192 })),
      },
      strict,
    ),
  ],
  { description: 'a text, { regex: "…", ignoreCase: true }, or { hex: "…" }' },
);

const StatusRange = Type.Union(
  [
    Type.Integer({ minimum: 100, maximum: 599 }),
    Type.String({ pattern: '^[1-5][0-9]{2}-[1-5][0-9]{2}$' }),
  ],
  { description: 'a status code from 100 to 599, or a range such as "300-399"' },
);
const Path = Type.String({
  pattern: '^(/[!-~]*|\\*)$',
  maxLength: 2048,
  description: 'a path that begins with a slash, without spaces',
});
const HostName = Type.String({
  pattern: '^[A-Za-z0-9_]([A-Za-z0-9._-]{0,252})$',
  description: 'a host name',
});
const HostHeader = Type.String({
  pattern: '^([A-Za-z0-9_][A-Za-z0-9._-]{0,252}|\\[[0-9A-Fa-f:.]{2,45}\\])(:[0-9]{1,5})?$',
  description: 'a host name or an address, and perhaps a port: www.example.org, [fd90::1]:8080',
});

const requestProperties = {
  status: Type.Optional(
    Type.Union([StatusRange, Type.Array(StatusRange, { minItems: 1, maxItems: 32 })], {
      description: '200, "200-299", or a list of them such as [200, "300-399"]',
    }),
  ),
  method: Type.Optional(
    Type.String({
      pattern: '^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|PROPFIND|REPORT)$',
      description: 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, PROPFIND, REPORT',
    }),
  ),
  host: Type.Optional(HostHeader),
  headers: Type.Optional(
    Type.Record(
      Type.String({ pattern: "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$" }),
      Type.String({
        pattern: '^[^\\x00-\\x08\\x0a-\\x1f\\x7f]*$',
        maxLength: 4096,
        description: 'a text without line ends',
      }),
      { ...strict, description: 'a map of header names, such as X-Probe, and their texts' },
    ),
  ),
  body: Type.Optional(Bytes),
  digest: Type.Optional(
    Type.String({
      pattern: '^((md5|sha1|sha256|sha512):)?[0-9A-Fa-f]{32,128}$',
      description:
        'md5:, sha1:, sha256: or sha512: and the digest of the body in hexadecimal digits',
    }),
  ),
  match: Type.Optional(Match),
  noMatch: Type.Optional(Match),
};

const RequestSchema = Type.Object({ path: Path, ...requestProperties }, strict);

const httpProperties = {
  version: Type.Optional(Type.Enum(['1.0', '1.1'])),
  path: Type.Optional(
    Type.Union([Path, Type.Array(Path, { minItems: 1, maxItems: 16 })], {
      description: 'a path that begins with a slash, or a list of 1 to 16 of them',
    }),
  ),
  requests: Type.Optional(
    Type.Array(RequestSchema, {
      minItems: 1,
      maxItems: 16,
      description: 'a list of 1 to 16 maps, each with a path and what differs from the others',
    }),
  ),
  bodyMax: Type.Optional(Count(BODY_MAX)),
  ...requestProperties,
};

const tlsProperties = {
  verify: Type.Optional(Type.Boolean()),
  name: Type.Optional(HostName),
  ca: Type.Optional(File),
  cert: Type.Optional(File),
  key: Type.Optional(File),
  daysLeft: Type.Optional(Count(3650)),
};

const exchangeProperties = { send: Type.Optional(Bytes), expect: Type.Optional(Match) };

const Rcode = Type.Enum(wordsOf(DNS_RCODES));
const length = Type.Integer({ minimum: 0, maximum: 65_507 });

const kinds = {
  icmp: Type.Optional(
    Type.Object({ size: Type.Optional(Type.Integer({ minimum: 8, maximum: 1400 })) }, strict),
  ),
  tcp: Type.Optional(Type.Object(exchangeProperties, strict)),
  tls: Type.Optional(Type.Object({ ...exchangeProperties, ...tlsProperties }, strict)),
  http: Type.Optional(Type.Object(httpProperties, strict)),
  https: Type.Optional(Type.Object({ ...httpProperties, ...tlsProperties }, strict)),
  smtp: Type.Optional(
    Type.Object(
      {
        helo: Type.Optional(HostName),
        security: Type.Optional(Type.Enum(['none', 'starttls', 'tls'])),
        ...tlsProperties,
      },
      strict,
    ),
  ),
  dns: Type.Optional(
    Type.Object(
      {
        name: Type.Optional(Type.String({ minLength: 1, maxLength: 254 })),
        type: Type.Optional(Type.Enum(wordsOf(DNS_TYPES))),
        transport: Type.Optional(Type.Enum(['udp', 'tcp'])),
        recursion: Type.Optional(Type.Boolean()),
        rcode: Type.Optional(
          Type.Union([Rcode, Type.Array(Rcode, { minItems: 1, maxItems: 6 })], {
            description: `one of ${wordsOf(DNS_RCODES).join(', ')}, or a list of them`,
          }),
        ),
        answer: Type.Optional(
          Type.Union([Text, Type.Array(Text, { minItems: 1, maxItems: 64 })], {
            description: 'the data of a record, such as 192.0.2.1, or a list of them',
          }),
        ),
        match: Type.Optional(Match),
      },
      strict,
    ),
  ),
  udp: Type.Optional(
    Type.Object(
      {
        payload: Type.Optional(Bytes),
        requireReply: Type.Optional(Type.Boolean()),
        reply: Type.Optional(
          Type.String({
            minLength: 2,
            maxLength: 4096,
            description: 'hexadecimal digits, with x for any: "a1 0x xx"',
          }),
        ),
        minLength: Type.Optional(length),
        maxLength: Type.Optional(length),
      },
      strict,
    ),
  ),
  vip: Type.Optional(
    Type.Object(
      {
        address: Type.Optional(Address),
        ask: Type.Optional(Type.Enum(['tcp', 'echo'])),
        arp: Type.Optional(Type.Enum(['fail', 'ignore'])),
      },
      strict,
    ),
  ),
  script: Type.Optional(
    Type.Object(
      {
        command: Command,
        user: Type.Optional(User),
        dynamic: Type.Optional(Type.Boolean()),
      },
      strict,
    ),
  ),
  file: Type.Optional(
    Type.Object(
      {
        path: File,
        weight: Type.Optional(
          Type.Integer({
            minimum: -0x7fff_ffff,
            maximum: 0x7fff_ffff,
            description: 'a whole number that the one in the file is multiplied with',
          }),
        ),
      },
      strict,
    ),
  ),
};

/** What members of `all` and `any` take from the group where they do not say it themselves. */
const common = {
  interval: Type.Optional(Duration),
  timeout: Type.Optional(Duration),
  rise: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
  fall: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
  retry: Type.Optional(Duration),
  warmup: Type.Optional(Duration),
  jitter: Type.Optional(
    Type.Integer({ minimum: 0, maximum: 50, description: 'a percentage of the interval, 0 to 50' }),
  ),
  whileDrained: Type.Optional(Type.Boolean()),
  runBy: Type.Optional(Type.Enum(['directors', 'holder'])),
  port: Type.Optional(Port),
  address: Type.Optional(Address),
  source: Type.Optional(
    Type.Union(
      [
        Address,
        Type.Record(Type.String({ pattern: NAME_PATTERN }), Address, {
          ...strict,
          minProperties: 1,
        }),
      ],
      { description: "an address, or a map of directors and each one's own address" },
    ),
  ),
  /** Below 1024 a socket needs a capability that the agent has not. */
  sourcePort: Type.Optional(Type.Integer({ minimum: 1024, maximum: 65_535 })),
  interface: Type.Optional(Name),
  mark: Type.Optional(Count(0xffff_ffff)),
};

export const COMMON_CHECK_KEYS: readonly string[] = Object.keys(common);

const Leaf = Type.Object({ ...kinds, ...common }, strict);
const groupOf = <S extends Type.TSchema>(member: S) => {
  const list = Type.Array(member, {
    minItems: 1,
    maxItems: 16,
    description: 'a list of 1 to 16 checks',
  });
  return { all: Type.Optional(list), any: Type.Optional(list) };
};
const Member = Type.Object({ ...kinds, ...groupOf(Leaf), ...common }, strict);

export const CheckSchema = Type.Object({ ...kinds, ...groupOf(Member), ...common }, strict);

/** Of a real server: its own, or none. */
export const OwnCheckSchema = Type.Union([CheckSchema, Type.Literal('none')], {
  description: 'a check as those of services, or none',
});

export type CheckDocument = Static<typeof CheckSchema>;
export type OwnCheckDocument = Static<typeof OwnCheckSchema>;
export type CommonDocument = Static<typeof Common>;
const Common = Type.Object(common, strict);
export type LeafDocument = Static<typeof Leaf>;
export type MemberDocument = Static<typeof Member>;
export type HttpDocument = NonNullable<LeafDocument['http']>;
export type RequestDocument = Omit<Static<typeof RequestSchema>, 'path'>;
export type TlsDocument = Pick<
  NonNullable<LeafDocument['tls']>,
  'verify' | 'name' | 'ca' | 'cert' | 'key' | 'daysLeft'
>;
export type BytesDocument = Static<typeof Bytes>;
export type MatchDocument = Static<typeof Match>;
