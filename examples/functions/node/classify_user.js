// Puts a user's e-mail address in order and says what kind of customer it belongs to.
'use strict';

// No retry will mend it: the stage names it in `reject`.
class InvalidUser extends Error {
  constructor(message) {
    super(message);
    this.name = 'InvalidUser';
  }
}

function tierOf(email) {
  if (email.endsWith('@enterprise.com')) return 'enterprise';
  return email.endsWith('.edu') || email.endsWith('.ac.uk') ? 'education' : 'standard';
}

exports.handler = async (event, context) => {
  const { id, name, email: raw = '', ...rest } = event.detail;
  const email = raw.replaceAll(' ', '').toLowerCase();
  if (!email.includes('@')) throw new InvalidUser(`no e-mail address: ${email}`);
  if (email.endsWith('@example.invalid')) return null; // ends the event on purpose
  const tier = tierOf(email);
  console.log(`${email} is ${tier}`);
  return { id, name, email, tier, ...rest };
};
