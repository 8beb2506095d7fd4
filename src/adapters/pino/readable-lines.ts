/** `agent --dev`: the log's JSON lines as text for a person at a terminal. */
import type { DestinationStream } from 'pino';

/** Writes `time LEVEL event key=value …`; a line that is no JSON passes as it is. */
export function createReadableLines(write: (text: string) => void): DestinationStream {
  return { write: (line) => write(formatLine(line)) };
}

function formatLine(line: string): string {
  let entry: unknown;
  try {
    entry = JSON.parse(line);
  } catch {
    return line; // Not from the log: nothing to make readable.
  }
  if (typeof entry !== 'object' || entry === null) return line;
  const { level, time, event, name: _name, ...fields } = entry as Record<string, unknown>;
  const clock = typeof time === 'string' ? time.slice(11, 23) : '';
  const pairs = Object.entries(fields)
    .filter(([, value]) => value !== null)
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  return [clock, String(level).toUpperCase().padEnd(5), event, ...pairs].join(' ').concat('\n');
}
