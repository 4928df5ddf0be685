/** A failure that its user can mend: shown as what went wrong and what to do, without a stack. */
export class UserProblem extends Error {
  /** The next step. */
  readonly next: string;

  constructor(what: string, next: string, options?: ErrorOptions) {
    super(what, options);
    this.name = 'UserProblem';
    this.next = next;
  }
}
