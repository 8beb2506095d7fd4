/** The shape of agent.yaml (design 9). What its values and files must satisfy: `agent-file.ts`. */
import Type from 'typebox';
import type { Static } from 'typebox';
import { NAME_PATTERN } from '../model/ids.ts';

const strict = { additionalProperties: false } as const;

const Name = Type.String({
  pattern: NAME_PATTERN,
  description:
    'a name: 1 to 63 letters, digits, dots, dashes, underscores, beginning with a letter or digit',
});
const File = Type.String({ minLength: 1, maxLength: 4096, description: 'the path of a file' });
const Text = Type.String({ minLength: 1, maxLength: 256 });

export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;

export const EXIT_MODES = ['release', 'freeze'] as const;

export const agentConfigSchema = Type.Object(
  {
    director: Name,
    cluster: Name,
    etcd: Type.Object(
      {
        endpoints: Type.Array(
          Type.String({ description: 'a URL such as http://10.90.0.31:2379' }),
          {
            minItems: 1,
            maxItems: 15,
            description: 'a list of 1 to 15 URLs, one for each member',
          },
        ),
        tls: Type.Optional(
          Type.Object(
            { ca: Type.Optional(File), cert: Type.Optional(File), key: Type.Optional(File) },
            strict,
          ),
        ),
        user: Type.Optional(Text),
        passwordFile: Type.Optional(File),
      },
      strict,
    ),
    interfaces: Type.Record(
      Type.String({ pattern: NAME_PATTERN }),
      Type.String({
        pattern: '^[^\\s/:]{1,15}$',
        description: 'a device name of 1 to 15 characters',
      }),
      { ...strict, description: 'a map of logical names to devices: { public: eth0 }' },
    ),
    api: Type.Optional(
      Type.Object(
        {
          listen: Type.Optional(Type.String({ description: '"address:port"' })),
          tls: Type.Optional(Type.Object({ cert: File, key: File }, strict)),
          tokensFile: Type.Optional(File),
        },
        strict,
      ),
    ),
    keyFile: File,
    peerPort: Type.Optional(Type.Integer({ minimum: 1, maximum: 65535 })),
    stateDir: Type.Optional(
      Type.String({ pattern: '^/', maxLength: 4096, description: 'an absolute path' }),
    ),
    exit: Type.Optional(Type.Enum([...EXIT_MODES])),
    metrics: Type.Optional(
      Type.Object(
        {
          realServers: Type.Optional(
            Type.Integer({
              minimum: 0,
              maximum: 262_144,
              description:
                'a number: with more real servers than this, metrics of each of them are left out',
            }),
          ),
        },
        strict,
      ),
    ),
    log: Type.Optional(Type.Object({ level: Type.Optional(Type.Enum([...LOG_LEVELS])) }, strict)),
    /** Tests run several directors on one machine; each then needs its own machine and boot id. */
    identity: Type.Optional(Type.Object({ machine: Text, boot: Text }, strict)),
  },
  strict,
);

export type AgentDocument = Static<typeof agentConfigSchema>;
/**
 * What SIGTERM means: hand the groups to other directors, or leave kernel and records as they are
 * for the next process of this director (design 4.14).
 */
export type ExitMode = (typeof EXIT_MODES)[number];
export type LogLevel = (typeof LOG_LEVELS)[number];
