/** Cluster documents as the store keeps them: as they are, or packed where they are long. */
import type { Result } from '../lib/result.ts';
import type { SpecRecord } from '../model/records.ts';

export interface DocumentCodec {
  /** The value to be stored; the error is a sentence: how much too large it is, and what to do. */
  format(spec: {
    readonly document: unknown;
    readonly by: string;
    readonly at: string;
  }): Promise<Result<string, string>>;
  /** The document of a record; the error is a sentence. */
  read(record: SpecRecord): Promise<Result<unknown, string>>;
}
