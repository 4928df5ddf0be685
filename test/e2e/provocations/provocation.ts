// SPDX-License-Identifier: Apache-2.0
/** A way to violate rules on a real kernel. */

import type { Kernels } from '../../../src/engine/rule.ts';
import type { ProvocationSession } from './session.ts';

export interface Provocation {
  /** Ids of the rules that it violates, on kernels where they can be violated. */
  readonly rules: readonly string[];
  /** What is done, as a short sentence. */
  readonly how: string;
  /** The kernels on which this can be done; all on which the rules can be violated, where left out. */
  readonly kernels?: Kernels;
  /** The line that the kernel logs, and which kernels do; none where left out. */
  readonly complaint?: { readonly pattern: RegExp } & Partial<Pick<Kernels, 'where'>>;
  readonly run: (session: ProvocationSession) => Promise<void>;
}
