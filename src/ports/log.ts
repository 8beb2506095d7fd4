/** Structured log: one line per transition, `noun.past-participle` first. Never secrets, always ids. */
export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  /** Someone must act. */
  error(fields: LogFields, event: string): void;
  /** It healed, or will. */
  warn(fields: LogFields, event: string): void;
  /** State changed. */
  info(fields: LogFields, event: string): void;
  debug(fields: LogFields, event: string): void;
  child(fields: LogFields): Log;
}

export const silentLog: Log = {
  error: () => {},
  warn: () => {},
  info: () => {},
  debug: () => {},
  child: () => silentLog,
};
