/** The log on pino: one JSON object a line. */
import { type DestinationStream, type Logger, pino } from 'pino';
import type { Log, LogFields } from '../../ports/log.ts';

/** Whatever a caller may log by mistake, these fields never leave the process. */
const SECRET_FIELDS = ['password', 'token', 'secret', 'authorization'];

/** `name` is in every line; lines below `level` cost next to nothing. */
export function createPinoLog(
  options: {
    readonly level: 'error' | 'warn' | 'info' | 'debug';
    readonly name: string;
  },
  destination: DestinationStream,
): Log {
  const settings = {
    level: options.level,
    base: { name: options.name },
    messageKey: 'event',
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { error: pino.stdSerializers.err, cause: pino.stdSerializers.err },
    redact: {
      paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`]),
      censor: '[redacted]',
    },
  };
  return wrap(pino(settings, destination));
}

function wrap(logger: Logger): Log {
  return {
    error: (fields, event) => logger.error(fields, event),
    warn: (fields, event) => logger.warn(fields, event),
    info: (fields, event) => logger.info(fields, event),
    debug: (fields, event) => logger.debug(fields, event),
    child: (fields: LogFields) => wrap(logger.child(fields)),
  };
}
